// A sampling solver: latents at sigma[i] and the model's velocities -> latents at sigma[i+1].
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "sched/noise_schedule.h"
#include "sched/sigma_scalars.h"

namespace t2v::sched {

// What earlier steps left behind: enough to go on in another process. Undefined: not there yet.
struct SolverHistory {
  at::Tensor last;       // latents before the previous predictor
  at::Tensor x0_1;       // x0 estimate of the previous step
  at::Tensor x0_2;       // ... and of the one before
  at::Tensor generator;  // of kRenoise: where its stream of noise is; bytes, on the CPU
};

// Holds what earlier steps left behind, all fp32; scalars are fp64 on the host.
class SolverState {
 public:
  // seed: of kRenoise, whose noise goes on in the stream behind the initial noise.
  SolverState(Solver solver, const NoiseSchedule& schedule, uint64_t seed = 0)
      : solver_(solver), scalars_(schedule), seed_(seed) {}

  // Steps must come in order, each once. cond, uncond: the model's output for the prompt and the
  // negative one (undefined: not guided). All fp32, of one shape. latents may be kept:
  // nobody may write to them later.
  at::Tensor step(const at::Tensor& latents, const at::Tensor& cond, const at::Tensor& uncond,
                  double guidance_scale, int64_t step_index);

  [[nodiscard]] const SolverHistory& history() const noexcept { return history_; }
  // Goes on where another state with this history stopped.
  void restore(const SolverHistory& history, at::Device device);

 private:
  // Fresh noise of this shape, from the CPU's generator.
  at::Tensor draw(const at::Tensor& like);

  Solver solver_;
  SigmaScalars scalars_;
  uint64_t seed_;
  SolverHistory history_;
};

}  // namespace t2v::sched
