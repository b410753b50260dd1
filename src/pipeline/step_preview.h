// A look at a video behind each step: what the model takes the finished latents to be, as colours.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "pipeline/preview_factors.h"
#include "t2v/batch.h"

namespace t2v::pipeline {

// Finished latent frames of a causal video, for the frames before those that are being made: never
// more than kMostFrames, evenly spread, however long the video is.
class PreviewPast {
 public:
  static constexpr int64_t kMostFrames = 64;

  // The next ones: fp32 [z, n, h, w] in host memory.
  void add(const at::Tensor& latents);
  [[nodiscard]] int64_t num_frames() const noexcept { return num_frames_; }
  // fp32 [z, 1, h, w]: this frame, or the kept one before it that is nearest.
  [[nodiscard]] at::Tensor frame(int64_t index) const;

 private:
  int64_t num_frames_ = 0;
  int64_t stride_ = 1;              // every so many frames, from the first on, one is kept
  std::vector<at::Tensor> frames_;  // those
};

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
    const PreviewPast* past = nullptr;  // what comes before `latents`; may be null
  };
  // The first, the middle and the last latent frame that there is, side by side.
  void show(const Step& step) const;

 private:
  PreviewListener& to_;
  PreviewFactors factors_;
};

}  // namespace t2v::pipeline
