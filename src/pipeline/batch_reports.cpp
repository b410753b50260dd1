#include "pipeline/batch_reports.h"

namespace t2v::pipeline {

void share_report(const Report& from, int64_t videos, Report& to) {
  to.stages.insert(to.stages.end(), from.stages.begin(), from.stages.end());
  to.steps = from.steps;
  to.weights = from.weights;
  to.conditions = from.conditions;
  to.kernels = from.kernels;
  to.flop = from.flop;
  to.denoise_flop_per_s = from.denoise_flop_per_s;
  to.first_step_ms = from.first_step_ms;
  to.together = videos;
}

void share_step_cache(const StepCacheUse& use, Report& to) {
  to.step_cache = use;
  for (StepTime& step : to.steps) {
    const auto index = static_cast<size_t>(step.index);
    if (index < use.mask.size()) step.predicted = use.mask[index] == '0';
  }
}

}  // namespace t2v::pipeline
