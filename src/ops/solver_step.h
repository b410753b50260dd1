// One step of a sampling solver over the latents: guidance, x0, corrector and predictor in one
// pass. What the coefficients are is the business of src/sched.
#pragma once

#include "ops/backend.h"

namespace t2v::ops {

// All tensors fp32, contiguous, of one shape and on one device. Inputs whose coefficients are all 0
// may be undefined; x and cond never are. Nothing is changed in place. fp32 throughout.
SolverOutputs solver_step(const SolverInputs& in, const SolverCoefficients& coefficients);

}  // namespace t2v::ops
