#include "pipeline/step_preview.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <set>
#include <vector>

#include "pipeline/latent_preview.h"

namespace t2v::pipeline {
namespace {

constexpr int64_t kFrameWidth = 256;  // px, about

}  // namespace

void StepPreview::show(const Step& step) const {
  const int64_t last = step.latents.size(1) - 1;
  std::vector<at::Tensor> pictures;
  for (const int64_t t : std::set<int64_t>{0, last / 2, last}) {
    const auto frame = [&](const at::Tensor& of) { return of.narrow(1, t, 1).cpu(); };
    at::Tensor velocity = frame(step.cond);
    if (step.uncond.defined()) {
      const at::Tensor uncond = frame(step.uncond);
      velocity = uncond + (velocity - uncond) * step.guidance_scale;
    }
    const at::Tensor x0 = frame(step.latents) - velocity * step.sigma;
    const int64_t scale = std::clamp<int64_t>(kFrameWidth / step.latents.size(3), 1, kPreviewScale);
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
