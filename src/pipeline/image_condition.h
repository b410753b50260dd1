// Given pictures as a denoiser sees them: latents beside the noise, or a first latent frame that is
// held.
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <memory>
#include <optional>

#include "models/vae/encoder.h"
#include "pipeline/geometry.h"
#include "pipeline/model.h"
#include "pipeline/run.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// At most one of the two is defined; none for videos from text alone. fp32.
struct ImageCondition {
  // Wan2.2-I2V-A14B: [4 + z, T, h, w], behind the noise's channels in every call of the model:
  // which frames are given (1; the frames of a latent frame are its 4 channels), and the latents of
  // a video that has these frames and is grey elsewhere.
  at::Tensor beside;
  // Wan2.2-TI2V-5B: [z, 1, h, w], in the place of the first latent frame in every call and at the
  // end; its tokens have timestep 0.
  at::Tensor first_frame;

  [[nodiscard]] ImageCondition to(at::Device device) const;
  // What the model takes for these latents [C, T, h, w], all on one device.
  [[nodiscard]] at::Tensor model_input(const at::Tensor& latents) const;
  // The video's latents behind the last step.
  [[nodiscard]] at::Tensor finished(const at::Tensor& latents) const;
};

// The recipe has an image. In host memory. Throws Error{kCancelled, kNumeric}.
ImageCondition make_image_condition(const models::vae::Encoder& encoder, const Model& model,
                                    const Recipe& recipe, Run& run);

// The conditions of a batch's videos; videos of the same pictures and size share one.
class ImageConditions {
 public:
  explicit ImageConditions(const Model& model) : model_(model) {}
  // Loads the encoder at the first need. The recipe has an image.
  [[nodiscard]] ImageCondition get(const Recipe& recipe, Run& run);
  void drop_encoder() noexcept { encoder_.reset(); }

 private:
  struct Entry {
    std::shared_ptr<const Picture> image, last_image;
    int64_t width = 0, height = 0, frames = 0;
    ImageCondition condition;
  };
  const Model& model_;
  std::optional<models::vae::Encoder> encoder_;
  std::deque<Entry> entries_;  // the latest ones
};

// fp32 [4, T, h, w] as above.
at::Tensor given_frames_mask(const Geometry& geometry, int64_t temporal_scale, bool last_given);

}  // namespace t2v::pipeline
