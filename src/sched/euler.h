// Euler: x + (sigma[i+1] - sigma[i]) * v.
#pragma once

#include "sched/sigma_scalars.h"
#include "sched/solver.h"

namespace t2v::sched {

class Euler final : public SolverState {
 public:
  explicit Euler(const NoiseSchedule& schedule) : scalars_(schedule) {}
  at::Tensor step(const at::Tensor& latents, const at::Tensor& model_output,
                  int64_t step_index) override;

 private:
  SigmaScalars scalars_;
};

}  // namespace t2v::sched
