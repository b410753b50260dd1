// Sizes: pixels and frames <-> latents and tokens, and which ones a model can make.
#pragma once

#include <cstdint>
#include <string>

namespace t2v::pipeline {

// Facts of a model that decide about sizes.
struct GeometryRules {
  int64_t spatial_scale = 8;   // pixels per latent pixel
  int64_t temporal_scale = 4;  // frames per latent frame behind the first
  int64_t patch_height = 2;    // latent pixels per token
  int64_t patch_width = 2;
  int64_t latent_channels = 16;
};

struct Geometry {
  int64_t latent_channels = 0;
  int64_t latent_frames = 0;
  int64_t latent_height = 0;
  int64_t latent_width = 0;
  int64_t num_tokens = 0;
};

// Refuses sizes that do not fit with the nearest ones that do. width, height in px.
// Throws Error{kUsage}.
Geometry make_geometry(int64_t width, int64_t height, int64_t frames, const GeometryRules& rules);

// The valid frame count nearest to seconds * fps, at least 1.
int64_t frames_for_seconds(double seconds, double fps, const GeometryRules& rules);

}  // namespace t2v::pipeline
