// How a family of causal checkpoints is run: chunk sizes, timesteps, sampler, window. Data files in
// profiles/, installed beside the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipeline/geometry.h"
#include "pipeline/model.h"
#include "t2v/request.h"
#include "weights/json_file.h"

namespace t2v::pipeline {

// kRenoise: x0 of each step is noised again to the next level. kEuler, kUniPC: deterministic; each
// chunk starts afresh.
enum class CausalSampler { kRenoise, kEuler, kUniPC };
const char* sampler_name(CausalSampler sampler) noexcept;  // "renoise", "euler", "unipc"

struct CausalProfile {
  std::string name;         // "self-forcing", or the path of a file
  int64_t first_chunk = 0;  // latent frames
  int64_t chunk = 0;        // of every later chunk
  CausalSampler sampler = CausalSampler::kRenoise;
  std::vector<double> timesteps;  // falling, 0 < t <= 1000, as the model is given them
  double shift = 1;               // by which they were warped; 1 = not
  double context_timestep = 0;    // of the pass whose keys and values stay
  int64_t window = 0;             // latent frames that attention sees, sinks and chunk included
  int64_t sinks = 0;
  SinkRope sink_rope = SinkRope::kAbsolute;
  double fps = 16;
  double guidance_scale = 1;
  PromptChange prompt_change = PromptChange::kResetCross;

  [[nodiscard]] int64_t largest_chunk() const { return first_chunk > chunk ? first_chunk : chunk; }
  // At least so many latent frames, rounded up to whole chunks.
  [[nodiscard]] int64_t whole_chunks(int64_t latent_frames) const;
  // latent_frames: of whole chunks.
  [[nodiscard]] int64_t num_chunks(int64_t latent_frames) const {
    return 1 + (latent_frames - first_chunk) / chunk;
  }
};

// name: of a profile that comes with the program, or a path (with a slash or ".json"). Throws
// Error{kUsage} with the names there are, Error{kInput} naming file and key.
CausalProfile find_profile(const std::string& name);
// Its values, all checked. Throws as the file says.
CausalProfile parse_profile(const weights::JsonFile& file);

// What says that a model's weights were trained causal, in words for people; "" when nothing does:
// a `generator` or `generator_ema` around the tensors, `_class_name` CausalWanModel or a key of
// causal training in the transformer's config, `t2v.causal` in the metadata of its file, or
// "causal" in the model's t2v.json.
std::string causal_evidence(const Model& model);
// Throws Error{kModel} for two experts, and for weights without evidence unless `forced`.
void require_causal_weights(const Model& model, const std::string& profile, bool forced);

// Latents of the whole video, rounded up to whole chunks.
Geometry causal_geometry(const Recipe& recipe, const CausalProfile& profile,
                         const GeometryRules& rules);

}  // namespace t2v::pipeline
