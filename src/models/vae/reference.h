// The decoder as its definition reads: whole video at once, plain ATen in fp32, nothing kept or
// fused. The specification and the oracle of the streamed one.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/vae/spec.h"
#include "weights/weight_map.h"

namespace t2v::models::vae::reference {

// latents [z, T, h, w], un-normalised -> frames [3, F, H, W] in [-1, 1], fp32 on the CPU.
at::Tensor decode(const VaeSpec& spec, const weights::WeightMap& map, const at::Tensor& latents);

}  // namespace t2v::models::vae::reference
