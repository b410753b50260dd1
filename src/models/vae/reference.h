// The decoder and the encoder as their definitions read: whole video at once, plain ATen in fp32,
// nothing kept or fused. The specification and the oracle of the streamed ones.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/vae/spec.h"
#include "weights/weight_map.h"

namespace t2v::models::vae::reference {

// latents [z, T, h, w], un-normalised -> frames [3, F, H, W] in [-1, 1], fp32 on the CPU.
at::Tensor decode(const VaeSpec& spec, const weights::WeightMap& map, const at::Tensor& latents);
// frames [3, F, H, W] in [-1, 1] -> means [z, T, h, w], un-normalised, fp32 on the CPU.
at::Tensor encode(const VaeSpec& spec, const weights::WeightMap& map, const at::Tensor& frames);

}  // namespace t2v::models::vae::reference
