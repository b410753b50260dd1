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

// Whether an expert's weights stay for the next prompt.
enum class AfterPrompt { kKeep, kGiveUp };

// The back end of self-attention in a step.
ops::AttentionBackend attention_of_step(const Compute& compute, int64_t step, int64_t num_steps);

// What a denoising stage works with beside its recipe.
struct DenoiseTools {
  models::wan::Experts& experts;
  ConditionCache& cache;
  AfterPrompt after = AfterPrompt::kKeep;
};

// noise fp32 [C, T, h, w] -> final latents of the same shape. Throws Error{kNumeric} with the step
// at which the model's output stopped being finite, Error{kCancelled}, Error{kModel}; the experts
// may then be in the middle of a pass and must be made anew.
at::Tensor run_denoise_stage(const Recipe& recipe, const TextEmbeddings& text,
                             const at::Tensor& noise, const DenoiseTools& tools, Run& run);

}  // namespace t2v::pipeline
