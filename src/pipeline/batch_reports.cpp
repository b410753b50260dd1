#include "pipeline/batch_reports.h"

namespace t2v::pipeline {

namespace {

void add_text_use(const Report& from, Report& to) {
  to.weights.bytes += from.weights.bytes;
  to.weights.stall_ms += from.weights.stall_ms;
  to.conditions.text_hits += from.conditions.text_hits;
  to.conditions.text_misses += from.conditions.text_misses;
  to.conditions.saved_ms += from.conditions.saved_ms;
}

}  // namespace

void add_text_report(const Report& from, Report& to) {
  for (StageTime stage : from.stages) {
    stage.start_ms = 0;
    to.stages.push_back(stage);
  }
  add_text_use(from, to);
}

void share_report(const Report& from, int64_t videos, Report& to) {
  const Report own = to;  // its text was encoded before
  to.stages.insert(to.stages.end(), from.stages.begin(), from.stages.end());
  to.steps = from.steps;
  to.weights = from.weights;
  to.conditions = from.conditions;
  add_text_use(own, to);
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
