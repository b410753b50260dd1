// One step of a sampling solver: latents at sigma[i] and the model's velocity -> latents at
// sigma[i+1]. All state is fp32; scalars are fp64 on the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "sched/noise_schedule.h"

namespace t2v::sched {

class SolverState {
 public:
  SolverState() = default;
  SolverState(const SolverState&) = delete;
  SolverState& operator=(const SolverState&) = delete;
  virtual ~SolverState();

  // Steps must come in order, each once. latents, model_output: fp32, same shape.
  virtual at::Tensor step(const at::Tensor& latents, const at::Tensor& model_output,
                          int64_t step_index) = 0;
};

std::unique_ptr<SolverState> make_solver(Solver solver, const NoiseSchedule& schedule);

}  // namespace t2v::sched
