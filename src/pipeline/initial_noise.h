// The latents a run starts from.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "pipeline/geometry.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// fp32 [C, T, h, w], unit normal; of a list of timesteps times its first noise level. From the
// seed: the numbers torch.randn gives for a CPU generator (mt19937, which uses the seed's low 32
// bits). From a file: as read_latents does. Throws Error{kInput}.
at::Tensor make_initial_noise(const Recipe& recipe, const Geometry& geometry);

// A tensor of latents [C, T, h, w] (any sizes) out of a safetensors file or a torch archive.
struct SavedLatents {
  at::Tensor latents;         // fp32
  std::string recipe_json;    // saved with it, or ""
  std::optional<double> fps;  // of this recipe
};

// The tensor is called `latents`, `latents_final` or `samples`, or is the only one of a torch
// archive; a leading 1 is taken off. Throws Error{kInput}.
SavedLatents read_latents(const std::string& path);

// Writes tensor `latents` with the recipe beside it. Throws Error{kOutput}.
void write_latents(const std::string& path, const at::Tensor& latents,
                   const std::string& recipe_json);

}  // namespace t2v::pipeline
