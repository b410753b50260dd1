// The sampling loop of causal checkpoints: chunk after chunk of latent frames, each over the cached
// keys and values of those before it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <vector>

#include "models/wan/causal_cache.h"
#include "pipeline/causal_profile.h"
#include "pipeline/denoise_stage.h"
#include "pipeline/geometry.h"
#include "pipeline/run.h"
#include "pipeline/text_stage.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// The prompt, then those of Recipe::prompts_at, in order.
struct CausalText {
  std::vector<TextEmbedding> prompts;
  std::optional<TextEmbedding> uncond;  // absent when nothing is guided
};

struct CausalJob {
  const Recipe& recipe;
  const CausalProfile& profile;
  const Geometry& geometry;  // of whole chunks
  const CausalText& text;
  int64_t temporal_scale = 4;  // frames of a latent frame behind the first
  at::Tensor noise;            // fp32 [C, T, h, w]; undefined: chunk by chunk from the seed
  // Where an earlier run has stopped (pipeline/causal_state): latents of whole chunks, in host
  // memory, and the generator; without latents: at the beginning.
  StepState start = {};
  const StepPreview* preview = nullptr;  // may be null
  // Behind each chunk that is denoised here; may throw. Empty: not wanted, and nothing is kept for
  // it.
  std::function<void(const StepState&)> after_chunk = {};
};

// Told when a chunk is done: its latents fp32 [C, n, h, w] in host memory, without frames that are
// beyond the recipe's.
using ChunkListener = std::function<void(const at::Tensor& latents)>;

// What a cache of this recipe looks like.
models::wan::CacheShape cache_shape(const Recipe& recipe, const CausalProfile& profile,
                                    const models::TransformerSpec& spec, const Geometry& geometry);

// Noise is drawn from the seed's generator in the order of use: of a chunk, then of its steps, then
// of the next chunk. The listener is told all chunks, also those of an earlier run. Throws
// Error{kNumeric} with the chunk, Error{kCancelled}, Error{kModel} and what the listener throws;
// the experts may then be in the middle of a pass.
void run_causal_stage(const CausalJob& job, const DenoiseTools& tools, Run& run,
                      const ChunkListener& on_chunk);

}  // namespace t2v::pipeline
