// What each solver does in one step, as coefficients of ops::solver_step: pure functions of the
// noise levels, in fp64. guidance stays 1: it is the caller's.
#pragma once

#include "ops/solver_step.h"
#include "sched/sigma_scalars.h"

namespace t2v::sched {

// UniPC of order 2 (B(h) = "bh2"), predicting x0 (Zhao et al. 2023): a predictor, and from the
// second step on a corrector that reuses the same model output.
ops::SolverCoefficients unipc_coefficients(const SigmaScalars& scalars, int64_t step_index);

// DPM-Solver++ (2M, midpoint), predicting x0 (Lu et al. 2022).
ops::SolverCoefficients dpmpp_coefficients(const SigmaScalars& scalars, int64_t step_index);

// Euler: x + (sigma[i+1] - sigma[i]) * v, written with x0 = x - sigma[i] * v.
ops::SolverCoefficients euler_coefficients(const SigmaScalars& scalars, int64_t step_index);

// The deterministic part of x0 + re-noise: (1 - sigma[i+1]) * x0.
ops::SolverCoefficients renoise_coefficients(const SigmaScalars& scalars, int64_t step_index);

}  // namespace t2v::sched
