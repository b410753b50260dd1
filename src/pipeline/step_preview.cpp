#include "pipeline/step_preview.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <set>
#include <vector>

#include "pipeline/latent_preview.h"

namespace t2v::pipeline {
namespace {

constexpr int64_t kFrameWidth = 256;  // px, about

// What the model takes a latent frame to be when all noise is gone: fp32 [z, 1, h, w] on the CPU.
at::Tensor finished(const StepPreview::Step& step, int64_t index) {
  const auto frame = [&](const at::Tensor& of) { return of.narrow(1, index, 1).cpu(); };
  at::Tensor velocity = frame(step.cond);
  if (step.uncond.defined()) {
    const at::Tensor uncond = frame(step.uncond);
    velocity = uncond + (velocity - uncond) * step.guidance_scale;
  }
  return frame(step.latents) - velocity * step.sigma;
}

}  // namespace

void PreviewPast::add(const at::Tensor& latents) {
  for (int64_t t = 0; t < latents.size(1); ++t, ++num_frames_) {
    if (num_frames_ % stride_ != 0) continue;
    if (static_cast<int64_t>(frames_.size()) == kMostFrames) {
      for (size_t i = 0; 2 * i < frames_.size(); ++i) frames_[i] = frames_[2 * i];
      frames_.resize(frames_.size() / 2);
      stride_ *= 2;
    }
    frames_.push_back(latents.narrow(1, t, 1).clone());
  }
}

at::Tensor PreviewPast::frame(int64_t index) const {
  return frames_.at(static_cast<size_t>(index / stride_));
}

void StepPreview::show(const Step& step) const {
  const int64_t num_past = step.past == nullptr ? 0 : step.past->num_frames();
  const int64_t last = num_past + step.latents.size(1) - 1;
  const int64_t scale = std::clamp<int64_t>(kFrameWidth / step.latents.size(3), 1, kPreviewScale);
  std::vector<at::Tensor> pictures;
  for (const int64_t t : std::set<int64_t>{0, last / 2, last}) {
    const at::Tensor x0 = t < num_past ? step.past->frame(t) : finished(step, t - num_past);
    pictures.push_back(preview_frames(x0, scale, factors_));
  }
  const at::Tensor strip = at::cat(pictures, 2).contiguous();
  to_.on_preview({.step = step.steps_done,
                  .num_steps = step.num_steps,
                  .width = strip.size(2),
                  .height = strip.size(1),
                  .rgb = strip.const_data_ptr<uint8_t>()});
}

}  // namespace t2v::pipeline
