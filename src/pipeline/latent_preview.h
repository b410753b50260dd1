// Latents at a glance: a linear map of their 16 channels to colours, without a VAE.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace t2v::pipeline {

// Video pixels a side of one latent pixel.
constexpr int64_t kPreviewScale = 8;

// latents fp32 [16, T, h, w], model space -> uint8 [T, h * scale, w * scale, 3], contiguous, on the
// CPU: one picture for each latent frame. what: the file, for messages. Throws Error{kInput} for
// another number of channels.
at::Tensor preview_frames(const at::Tensor& latents, int64_t scale, const std::string& what);

}  // namespace t2v::pipeline
