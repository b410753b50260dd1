// UniPC of order 2 (B(h) = "bh2"), predicting x0 (Zhao et al. 2023): a predictor, and from the
// second step on a corrector that reuses the same model output.
#pragma once

#include "sched/sigma_scalars.h"
#include "sched/solver.h"

namespace t2v::sched {

class UniPC final : public SolverState {
 public:
  explicit UniPC(const NoiseSchedule& schedule) : scalars_(schedule) {}
  at::Tensor step(const at::Tensor& latents, const at::Tensor& model_output,
                  int64_t step_index) override;

 private:
  // Redoes the previous step's arrival at sigma[i] now that x0 at sigma[i] is known.
  [[nodiscard]] at::Tensor correct(const at::Tensor& x0, int64_t i) const;
  [[nodiscard]] at::Tensor predict(const at::Tensor& x, const at::Tensor& x0, int64_t i,
                                   int order) const;

  SigmaScalars scalars_;
  at::Tensor last_;  // latents before the previous predictor
  at::Tensor x0_1_;  // x0 estimate of the previous step
  at::Tensor x0_2_;  // ... and of the one before
  int last_order_ = 0;
};

}  // namespace t2v::sched
