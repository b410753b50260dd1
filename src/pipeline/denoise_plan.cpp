#include "pipeline/denoise_plan.h"

#include "sched/guidance.h"

namespace t2v::pipeline {

using models::wan::Expert;

sched::NoiseSchedule schedule_of(const Recipe& recipe) {
  if (!recipe.t_list.empty()) return sched::make_listed_schedule(recipe.t_list);
  return sched::make_noise_schedule(recipe.solver, recipe.sigma_table, recipe.steps, recipe.shift);
}

StepPlan plan_step(const Recipe& recipe, double timestep) {
  if (!recipe.boundary) return {Expert::kHighNoise, recipe.guidance_scale.high_noise, ""};
  if (sched::uses_high_noise(timestep, *recipe.boundary))
    return {Expert::kHighNoise, recipe.guidance_scale.high_noise, expert_name(Expert::kHighNoise)};
  return {Expert::kLowNoise, recipe.guidance_scale.low_noise, expert_name(Expert::kLowNoise)};
}

ops::AttentionBackend attention_of_step(const Compute& compute, int64_t step, int64_t num_steps) {
  if (!compute.protect_steps || compute.attention != ops::AttentionBackend::kOwnInt8)
    return compute.attention;
  const int64_t ends = (num_steps + 9) / 10;
  const bool protect = step < ends || step >= num_steps - ends;
  return protect ? ops::AttentionBackend::kAuto : compute.attention;
}

bool is_guided(const Recipe& recipe) {
  return sched::needs_uncond(recipe.guidance_scale.high_noise) ||
         sched::needs_uncond(recipe.guidance_scale.low_noise);
}

bool any_step_guided(const Recipe& recipe, const sched::NoiseSchedule& schedule) {
  for (const double timestep : schedule.timesteps)
    if (sched::needs_uncond(plan_step(recipe, timestep).guidance_scale)) return true;
  return false;
}

bool step_alike(const Recipe& a, const Recipe& b) {
  const auto guided = [](double scale) { return sched::needs_uncond(scale); };
  return a.width == b.width && a.height == b.height && a.frames == b.frames && a.steps == b.steps &&
         a.solver == b.solver && a.sigma_table == b.sigma_table && a.shift == b.shift &&
         a.boundary == b.boundary && !a.image == !b.image && a.causal.empty() && b.causal.empty() &&
         a.text_len == b.text_len && a.t_list == b.t_list &&
         a.step_cache.policy == b.step_cache.policy &&
         guided(a.guidance_scale.high_noise) == guided(b.guidance_scale.high_noise) &&
         guided(a.guidance_scale.low_noise) == guided(b.guidance_scale.low_noise);
}

}  // namespace t2v::pipeline
