// RMS norm over the channels of a video, with or without SiLU behind it, as the VAE has it.
#pragma once

#include <ATen/core/Tensor.h>

namespace t2v::ops {

enum class NormActivation { kNone, kSilu };

// out = activation(x / max(|x|, 1e-12) * sqrt(C) * gamma), |x| the Euclidean norm over the
// channels. fp32 inside, rounded once. x, out [T, H, W, C] in one type (fp32 or bf16), channels
// dense, other strides free, so that out may be the inside of a padded buffer. gamma fp32 [C].
void vae_norm(const at::Tensor& x, const at::Tensor& gamma, NormActivation activation,
              const at::Tensor& out);

namespace reference {
void vae_norm(const at::Tensor& x, const at::Tensor& gamma, NormActivation activation,
              const at::Tensor& out);
}

}  // namespace t2v::ops
