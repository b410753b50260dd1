// --step-cache for a model and a recipe: what may be predicted, by which rules, at what cost.
#pragma once

#include <cstdint>
#include <string>

#include "pipeline/model.h"
#include "sched/step_cache.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// Values that were found for a published model (docs/step-caching.md); shares of the steps of each
// expert that are computed at its start.
struct StepCacheTuning {
  double easy_threshold = 0.05;
  double easy_keep_high = 0.2, easy_keep_low = 0.2;  // at least two steps
  double mag_threshold = 0.06;
  int64_t mag_max_skips = 2;
  double mag_keep_high = 0.2, mag_keep_low = 0.2;
};
StepCacheTuning step_cache_tuning(const std::string& published);

// Steps of a run, and where the low-noise expert begins (all of them: there is none).
struct ExpertSteps {
  int64_t steps = 0;
  int64_t boundary = 0;
};
ExpertSteps expert_steps(const Recipe& recipe);

// Without the ratios of kMag.
sched::StepCacheRules make_rules(const StepCacheOptions& options, const StepCacheTuning& tuning,
                                 const ExpertSteps& steps);

// Fills recipe.step_cache, everything else of the recipe being resolved. Throws Error{kUsage} for
// runs whose steps are too few or too different to be predicted; of kMag also what
// read_step_cache_table throws.
void resolve_step_cache(const Request& request, const Model& model, Recipe& recipe);

sched::StepCacheRules step_cache_rules(const Recipe& recipe, const Model& model);

// "off", "easy:0.05", "mag:0.06", "mag:0.06:FILE": as --step-cache reads it; the model's own table
// has no name.
std::string step_cache_text(const StepCacheOptions& options, const Model& model);
// Tells tables apart; "" without one.
std::string step_cache_digest(const Recipe& recipe, const Model& model);
// One line when the table was made with another schedule; "".
std::string step_cache_warning(const Recipe& recipe, const Model& model);

// Memory between steps, of one video.
int64_t step_cache_bytes(const Recipe& recipe, const Model& model, int64_t element_bytes);

}  // namespace t2v::pipeline
