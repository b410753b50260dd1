// A look at a video behind each step: what the model takes the finished latents to be, as colours.
#pragma once

#include <ATen/core/Tensor.h>

#include "pipeline/preview_factors.h"
#include "t2v/batch.h"

namespace t2v::pipeline {

class StepPreview {
 public:
  StepPreview(PreviewListener& to, PreviewFactors factors)
      : to_(to), factors_(std::move(factors)) {}

  struct Step {
    const at::Tensor& latents;  // before the step, fp32 [z, T, h, w]
    const at::Tensor& cond;     // the model's outputs
    const at::Tensor& uncond;   // undefined: not guided
    double guidance_scale = 1;
    double sigma = 0;
    int64_t steps_done = 0, num_steps = 0;
  };
  // The first, the middle and the last latent frame, side by side.
  void show(const Step& step) const;

 private:
  PreviewListener& to_;
  PreviewFactors factors_;
};

}  // namespace t2v::pipeline
