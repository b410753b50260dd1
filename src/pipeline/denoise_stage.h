// The sampling loop: initial noise + text embeddings -> final latents.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/wan/experts.h"
#include "pipeline/model.h"
#include "pipeline/run.h"
#include "pipeline/text_stage.h"
#include "sched/noise_schedule.h"

namespace t2v::pipeline {

// Which expert serves a timestep, and how strongly it is guided.
struct StepPlan {
  models::wan::Expert expert = models::wan::Expert::kHighNoise;
  double guidance_scale = 1.0;
  std::string expert_name;  // "" for single-expert models
};
StepPlan plan_step(const Recipe& recipe, int64_t timestep);

// Whether any step is guided, so that the negative prompt is needed.
bool any_step_guided(const Recipe& recipe, const sched::NoiseSchedule& schedule);

// Loads the expert with stage times and progress.
std::unique_ptr<models::wan::Transformer> load_expert(const Model& model,
                                                      models::wan::Expert expert, Run& run);

// noise fp32 [C, T, h, w] -> final latents of the same shape. Throws Error{kNumeric} with the step
// at which the model's output stopped being finite, Error{kCancelled}.
at::Tensor run_denoise_stage(
    const Recipe& recipe, const TextEmbeddings& text, const at::Tensor& noise,
    const std::function<const models::wan::Transformer&(models::wan::Expert)>& get_expert,
    Run& run);

}  // namespace t2v::pipeline
