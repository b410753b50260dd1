// Latents at a glance: a linear map of their channels to colours, without a VAE.
#pragma once

#include <ATen/core/Tensor.h>

#include "pipeline/preview_factors.h"

namespace t2v::pipeline {

// Video pixels a side of one latent pixel.
constexpr int64_t kPreviewScale = 8;

// latents fp32 [z, T, h, w] on the CPU, model space -> uint8 [T, h * scale, w * scale, 3],
// contiguous: one picture for each latent frame. factors: for z channels.
at::Tensor preview_frames(const at::Tensor& latents, int64_t scale, const PreviewFactors& factors);

}  // namespace t2v::pipeline
