// A sampling solver: latents at sigma[i] and the model's velocities -> latents at sigma[i+1].
#pragma once

#include <ATen/core/Tensor.h>

#include "sched/noise_schedule.h"
#include "sched/sigma_scalars.h"

namespace t2v::sched {

// Holds what earlier steps left behind, all fp32; scalars are fp64 on the host.
class SolverState {
 public:
  SolverState(Solver solver, const NoiseSchedule& schedule) : solver_(solver), scalars_(schedule) {}

  // Steps must come in order, each once. cond, uncond: the model's output for the prompt and the
  // negative one (undefined: not guided). All fp32, of one shape. latents may be kept:
  // nobody may write to them later.
  at::Tensor step(const at::Tensor& latents, const at::Tensor& cond, const at::Tensor& uncond,
                  double guidance_scale, int64_t step_index);

 private:
  Solver solver_;
  SigmaScalars scalars_;
  at::Tensor last_;  // latents before the previous predictor
  at::Tensor x0_1_;  // x0 estimate of the previous step
  at::Tensor x0_2_;  // ... and of the one before
};

}  // namespace t2v::sched
