// Which steps of one video are predicted from earlier ones instead of computed, and what of these
// the prediction needs (docs/step-caching.md).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "t2v/request.h"

namespace t2v::sched {

// Rules of a run, by step where they are lists.
struct StepCacheRules {
  StepCachePolicy policy = StepCachePolicy::kOff;
  double threshold = 0;             // 0: every step is computed
  int64_t max_skips = 0;            // kMag: in a row
  std::vector<bool> kept;           // computed, whatever the rest says
  std::vector<bool> expert_begins;  // first step of an expert: nothing of the other one is used
  std::vector<double> ratios;       // kMag: size of the residual, as a share of the step's before
};

// One tensor for each guidance branch.
struct Branches {
  at::Tensor cond;
  at::Tensor uncond;  // undefined: not guided
};

// The decisions of kMag, which are known before the run.
struct MagPlan {
  std::vector<bool> computed;
  double worst_error = 0;  // the largest that was let pass
};
MagPlan plan_mag(const StepCacheRules& rules);

// kEasy predicts what the model returns, kMag what its blocks add to the tokens. The conditional
// branch decides for both. Nothing is changed in place.
class StepCache {
 public:
  explicit StepCache(StepCacheRules rules);

  [[nodiscard]] StepCachePolicy policy() const noexcept { return rules_.policy; }
  // Called once for each step, in order: true when it is predicted. latents: what the model would
  // be given. An expert's first step drops what the other one has left.
  bool begin_step(int64_t step, const at::Tensor& latents);
  // False when it is known that no step from `step` to `end` will be computed.
  [[nodiscard]] bool may_compute(int64_t step, int64_t end) const;

  // kEasy. Behind a computed step: what the model was given and has returned.
  void keep_outputs(const at::Tensor& latents, const Branches& outputs);
  [[nodiscard]] Branches predict_outputs(const at::Tensor& latents) const;

  // kMag. Behind a computed step: what the blocks have added.
  void keep_residuals(const Branches& residuals) { residuals_ = residuals; }
  [[nodiscard]] const Branches& residuals() const noexcept { return residuals_; }

  // One digit for each step so far: 1 computed, 0 predicted.
  [[nodiscard]] const std::string& mask() const noexcept { return mask_; }
  // Of predicted steps: the largest accumulated estimate.
  [[nodiscard]] double worst_error() const noexcept { return worst_error_; }

  // Everything that a later step depends on, by name; restore() goes on from there, bit for bit.
  [[nodiscard]] std::map<std::string, at::Tensor> state() const;
  // steps: done so far. Throws Error{kInput} when the state is not of so many steps.
  void restore(const std::map<std::string, at::Tensor>& state, int64_t steps, at::Device device);

 private:
  [[nodiscard]] bool predicts_easily(bool kept, const at::Tensor& latents);
  void drop();

  StepCacheRules rules_;
  MagPlan plan_;  // kMag
  std::string mask_;
  double worst_error_ = 0;
  // kEasy: of the conditional branch. c: the last step that was computed.
  at::Tensor latents_before_, latents_c_, output_c_;
  Branches deltas_;              // output - latents, at c
  double output_size_ = 0;       // mean |output_c_|
  std::optional<double> slope_;  // change of the output per change of the latents
  double error_ = 0;
  Branches residuals_;  // kMag
};

}  // namespace t2v::sched
