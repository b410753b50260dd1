#include "pipeline/image_condition.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "core/check.h"
#include "pipeline/encode_stage.h"
#include "pipeline/image_request.h"
#include "pipeline/picture_resize.h"

namespace t2v::pipeline {
namespace {

// fp32 [3, 1, H, W] in [-1, 1], in the video's size.
at::Tensor picture_frame(const Picture& picture, const Recipe& recipe) {
  return frame_tensor(resize_picture(picture, recipe.width, recipe.height).rgb, recipe.height,
                      recipe.width);
}

void dump_mask_of_held(const Geometry& g, Run& run) {
  if (!run.dump().wanted()) return;
  at::Tensor mask = at::ones({1, 1, g.latent_frames, g.latent_height, g.latent_width}, at::kFloat);
  mask.select(2, 0).zero_();
  run.dump().add("first_frame_mask", mask);
}

}  // namespace

ImageCondition ImageConditions::get(const Recipe& r, Run& run) {
  constexpr size_t kMostKept = 4;
  for (const Entry& entry : entries_)
    if (entry.image == r.image && entry.last_image == r.last_image && entry.width == r.width &&
        entry.height == r.height && entry.frames == r.frames && !run.dump().wanted())
      return entry.condition;
  Entry made{.image = r.image,
             .last_image = r.last_image,
             .width = r.width,
             .height = r.height,
             .frames = r.frames,
             .condition = {}};
  try {
    if (!encoder_) encoder_.emplace(load_encoder(model_, run));
    made.condition = make_image_condition(*encoder_, model_, r, run);
  } catch (...) {
    drop_encoder();  // memory of a failed run is given back
    throw;
  }
  entries_.push_back(std::move(made));
  if (entries_.size() > kMostKept) entries_.pop_front();
  return entries_.back().condition;
}

at::Tensor given_frames_mask(const Geometry& g, int64_t temporal_scale, bool last_given) {
  at::Tensor mask =
      at::zeros({temporal_scale, g.latent_frames, g.latent_height, g.latent_width}, at::kFloat);
  mask.select(1, 0).fill_(1);  // the first frame, once for each channel
  if (last_given) mask.select(1, g.latent_frames - 1).select(0, temporal_scale - 1).fill_(1);
  return mask;
}

ImageCondition ImageCondition::to(at::Device device) const {
  ImageCondition moved;
  if (beside.defined()) moved.beside = beside.to(device);
  if (first_frame.defined()) moved.first_frame = first_frame.to(device);
  return moved;
}

at::Tensor ImageCondition::model_input(const at::Tensor& latents) const {
  if (beside.defined()) return at::cat({latents, beside});
  return finished(latents);
}

at::Tensor ImageCondition::finished(const at::Tensor& latents) const {
  if (!first_frame.defined()) return latents;
  return at::cat({first_frame, latents.narrow(1, 1, latents.size(1) - 1)}, 1);
}

ImageCondition make_image_condition(const models::vae::Encoder& encoder, const Model& model,
                                    const Recipe& recipe, Run& run) {
  T2V_ASSERT(recipe.image != nullptr);
  const Geometry geometry =
      make_geometry(recipe.width, recipe.height, recipe.frames, model.geometry_rules());
  const at::Tensor first = picture_frame(*recipe.image, recipe);
  run.dump().add("image_tensor", first.transpose(0, 1));
  ImageCondition condition;
  if (holds_first_frame(model, recipe)) {
    condition.first_frame = encode_frames(
        encoder, 1, [&](int64_t) { return first; }, run);
    run.dump().add("condition", condition.first_frame.unsqueeze(0));
    dump_mask_of_held(geometry, run);
    return condition;
  }
  const at::Tensor grey = at::zeros_like(first);
  const at::Tensor last =
      recipe.last_image ? picture_frame(*recipe.last_image, recipe) : at::Tensor();
  const auto frame = [&](int64_t index) {
    if (index == 0) return first;
    return index + 1 == recipe.frames && last.defined() ? last : grey;
  };
  const at::Tensor latents = encode_frames(encoder, recipe.frames, frame, run);
  condition.beside =
      at::cat({given_frames_mask(geometry, model.vae.temporal_factor(), last.defined()), latents});
  run.dump().add("condition", condition.beside.unsqueeze(0));
  return condition;
}

}  // namespace t2v::pipeline
