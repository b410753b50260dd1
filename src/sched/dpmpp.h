// DPM-Solver++ (2M, midpoint), predicting x0 (Lu et al. 2022).
#pragma once

#include "sched/sigma_scalars.h"
#include "sched/solver.h"

namespace t2v::sched {

class DpmSolverPp final : public SolverState {
 public:
  explicit DpmSolverPp(const NoiseSchedule& schedule) : scalars_(schedule) {}
  at::Tensor step(const at::Tensor& latents, const at::Tensor& model_output,
                  int64_t step_index) override;

 private:
  SigmaScalars scalars_;
  at::Tensor previous_x0_;
};

}  // namespace t2v::sched
