// What every step of a recipe is: noise level, expert, guidance, back end of attention.
#pragma once

#include <cstdint>
#include <string>

#include "models/wan/experts.h"
#include "ops/attention.h"
#include "pipeline/run.h"
#include "sched/noise_schedule.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// The noise levels and timesteps of a recipe.
sched::NoiseSchedule schedule_of(const Recipe& recipe);

// Which expert serves a timestep, and how strongly it is guided.
struct StepPlan {
  models::wan::Expert expert = models::wan::Expert::kHighNoise;
  double guidance_scale = 1.0;
  std::string expert_name;  // "" for single-expert models
};
StepPlan plan_step(const Recipe& recipe, double timestep);

// Whether any step is guided, so that the negative prompt is needed.
bool any_step_guided(const Recipe& recipe, const sched::NoiseSchedule& schedule);

// Whether an expert is guided at all, known without a schedule.
bool is_guided(const Recipe& recipe);

// The back end of self-attention in a step.
ops::AttentionBackend attention_of_step(const Compute& compute, int64_t step, int64_t num_steps);

// Whether two videos can take their steps together: equal size, length and steps, guided by the
// same experts or not at all.
bool step_alike(const Recipe& a, const Recipe& b);

}  // namespace t2v::pipeline
