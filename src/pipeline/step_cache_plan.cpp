#include "pipeline/step_cache_plan.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/check.h"
#include "pipeline/denoise_plan.h"
#include "pipeline/presets.h"
#include "pipeline/step_cache_table.h"
#include "weights/byte_hash.h"

namespace t2v::pipeline {
namespace {

constexpr int64_t kTooFewSteps = 8;
constexpr int64_t kLatentCopies = 5;  // of kEasy: two latents, an output, two deltas

bool is_on(const Recipe& recipe) { return recipe.step_cache.policy != StepCachePolicy::kOff; }

}  // namespace

StepCacheTuning step_cache_tuning(const std::string& published) {
  StepCacheTuning t;
  if (published == "Wan2.2-T2V-A14B") {
    t.easy_keep_high = 10.0 / 26;
    t.easy_keep_low = 2.0 / 14;
    t.mag_keep_high = t.mag_keep_low = 0.4;
  } else if (published == "Wan2.2-I2V-A14B") {
    t.easy_keep_high = 6.0 / 15;
    t.easy_keep_low = 3.0 / 25;
    t.mag_keep_high = 1;
    t.mag_keep_low = 0.1;
  } else if (published == "Wan2.1-T2V-1.3B") {
    t.mag_threshold = 0.12;
    t.mag_max_skips = 4;
  } else if (published == "Wan2.1-T2V-14B" || published == "Wan2.1-I2V-14B") {
    t.mag_threshold = 0.24;
    t.mag_max_skips = 6;
  }
  return t;
}

ExpertSteps expert_steps(const Recipe& recipe) {
  const sched::NoiseSchedule schedule = schedule_of(recipe);
  ExpertSteps steps{.steps = schedule.num_steps(), .boundary = schedule.num_steps()};
  for (int64_t i = steps.steps; i-- > 0;) {
    const double timestep = schedule.timesteps[static_cast<size_t>(i)];
    if (plan_step(recipe, timestep).expert == models::wan::Expert::kLowNoise) steps.boundary = i;
  }
  return steps;
}

sched::StepCacheRules make_rules(const StepCacheOptions& options, const StepCacheTuning& tuning,
                                 const ExpertSteps& steps) {
  const bool mag = options.policy == StepCachePolicy::kMag;
  sched::StepCacheRules rules;
  rules.policy = options.policy;
  rules.threshold = options.threshold;
  rules.max_skips = tuning.mag_max_skips;
  const auto kept_of = [&](double mag_share, double easy_share, int64_t count) {
    const double share = (mag ? mag_share : easy_share) * static_cast<double>(count);
    return std::max<int64_t>(mag ? 0 : 2, std::llround(share));
  };
  const int64_t low = steps.steps - steps.boundary;
  const int64_t kept_high = kept_of(tuning.mag_keep_high, tuning.easy_keep_high, steps.boundary);
  const int64_t kept_low = kept_of(tuning.mag_keep_low, tuning.easy_keep_low, low);
  for (int64_t i = 0; i < steps.steps; ++i) {
    const bool kept = i < steps.boundary ? i < kept_high : i - steps.boundary < kept_low;
    rules.kept.push_back(kept || i + 1 == steps.steps);
    rules.expert_begins.push_back(i == 0 || i == steps.boundary);
  }
  return rules;
}

void resolve_step_cache(const Request& request, const Model& model, Recipe& r) {
  r.step_cache = {};
  if (!request.step_cache || request.step_cache->policy == StepCachePolicy::kOff) return;
  const char* name = step_cache_name(request.step_cache->policy);
  T2V_REQUIRE(r.causal.empty(), ErrorKind::kUsage, "--step-cache ", name,
              ": a causal run keeps its own past and has few steps a chunk (--causal); try one of "
              "the two");
  T2V_REQUIRE(r.t_list.empty(), ErrorKind::kUsage, "--step-cache ", name,
              ": every step of a distilled model counts (--t-list, or preset '", r.preset,
              "'); try without");
  T2V_REQUIRE(r.steps > kTooFewSteps, ErrorKind::kUsage, "--step-cache ", name, ": ", r.steps,
              " steps are too few to leave any out; try without, or --steps ", kTooFewSteps + 1,
              " and more");
  r.step_cache = *request.step_cache;
  const StepCacheTuning tuning = step_cache_tuning(model.variant.published);
  const bool mag = r.step_cache.policy == StepCachePolicy::kMag;
  if (r.step_cache.threshold == 0)
    r.step_cache.threshold = mag ? tuning.mag_threshold : tuning.easy_threshold;
  if (mag && r.step_cache.table_path.empty()) r.step_cache.table_path = default_table_path(model);
  static_cast<void>(step_cache_rules(r, model));
}

sched::StepCacheRules step_cache_rules(const Recipe& recipe, const Model& model) {
  if (!is_on(recipe)) return {};
  const ExpertSteps steps = expert_steps(recipe);
  auto rules = make_rules(recipe.step_cache, step_cache_tuning(model.variant.published), steps);
  if (rules.policy == StepCachePolicy::kMag) {
    const StepCacheTable table = read_step_cache_table(recipe.step_cache.table_path, model);
    rules.ratios = stretch_ratios(table, steps.steps, steps.boundary);
  }
  return rules;
}

std::string step_cache_text(const StepCacheOptions& options, const Model& model) {
  std::string text = step_cache_name(options.policy);
  if (options.policy == StepCachePolicy::kOff) return text;
  text += ':';
  text += number_text(options.threshold);
  if (options.table_path.empty() || options.table_path == default_table_path(model)) return text;
  return text + ":" + options.table_path;
}

std::string step_cache_digest(const Recipe& recipe, const Model& model) {
  if (recipe.step_cache.policy != StepCachePolicy::kMag) return "";
  const auto ratios = step_cache_rules(recipe, model).ratios;
  weights::ByteHash hash;
  hash.add(std::as_bytes(std::span(ratios)));
  return hash.finish();
}

std::string step_cache_warning(const Recipe& recipe, const Model& model) {
  if (recipe.step_cache.policy != StepCachePolicy::kMag) return "";
  const StepCacheTable table = read_step_cache_table(recipe.step_cache.table_path, model);
  if (table.solver == solver_name(recipe.solver) && table.shift == recipe.shift) return "";
  return core::str("the step cache's table was made with ", table.solver, " and shift ",
                   number_text(table.shift), ", not ", solver_name(recipe.solver), " and ",
                   number_text(recipe.shift), " (", recipe.step_cache.table_path,
                   "); t2v calibrate-cache makes another one");
}

int64_t step_cache_bytes(const Recipe& recipe, const Model& model, int64_t element_bytes) {
  if (!is_on(recipe)) return 0;
  const Geometry g =
      make_geometry(recipe.width, recipe.height, recipe.frames, model.geometry_rules());
  if (recipe.step_cache.policy == StepCachePolicy::kMag)
    return (is_guided(recipe) ? 2 : 1) * g.num_tokens * model.transformer.size() * element_bytes;
  return kLatentCopies * 4 * g.latent_channels * g.latent_frames * g.latent_height * g.latent_width;
}

}  // namespace t2v::pipeline
