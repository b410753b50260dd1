// The latents a run starts from.
#pragma once

#include <ATen/core/Tensor.h>

#include "pipeline/geometry.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// fp32 [C, T, h, w], unit normal. From the seed: the numbers torch.randn gives for a CPU generator
// (mt19937, which uses the seed's low 32 bits). From a file: safetensors, tensor `latents`,
// [C, T, h, w] or with a leading 1. Throws Error{kInput}.
at::Tensor make_initial_noise(const Recipe& recipe, const Geometry& geometry);

// A tensor of latents [C, T, h, w] (any sizes) out of a safetensors file: `latents` or
// `latents_final`. recipe_json: the recipe saved with it, or "". Throws Error{kInput}.
struct SavedLatents {
  at::Tensor latents;  // fp32
  std::string recipe_json;
};
SavedLatents read_latents(const std::string& path);

// Writes tensor `latents` with the recipe beside it. Throws Error{kOutput}.
void write_latents(const std::string& path, const at::Tensor& latents,
                   const std::string& recipe_json);

}  // namespace t2v::pipeline
