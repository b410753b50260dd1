// RMS norm over the channels of a video, with or without SiLU behind it, as the VAE has it.
#pragma once

#include "ops/backend.h"

namespace t2v::ops {

// out = activation(y / max(|y|, 1e-12) * sqrt(C) * gamma), y = x + bias, |y| the Euclidean norm
// over the channels. fp32 inside, rounded once. x, out [T, H, W, C] in one float type, channels
// dense, other strides free, so that out may be the inside of a padded buffer. gamma fp32 [C]; bias
// fp32 [C] or undefined.
void vae_norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& gamma,
              NormActivation activation, const at::Tensor& out);

}  // namespace t2v::ops
