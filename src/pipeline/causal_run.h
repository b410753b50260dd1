// One causal video from prompts to frames: the window that fits, the sampling loop, and behind it
// the decoder, which works at the same time.
#pragma once

#include <functional>
#include <string>

#include "pipeline/causal_stage.h"
#include "pipeline/model.h"
#include "pipeline/residency.h"
#include "pipeline/run.h"
#include "t2v/engine.h"

namespace t2v::pipeline {

// Fills what a causal recipe leaves open (from profile and request) and checks it. Throws
// Error{kUsage}.
void resolve_causal(const Request& request, const Model& model, Recipe& recipe);

// The memory that the recipe's window takes in `input`, which is of whole videos: keys and values,
// activations of a chunk, the decoder, which works beside the transformer, and finished latents.
void plan_causal(const Recipe& recipe, const Model& model, PlanInput& input);
// Bytes of all caches of a recipe.
int64_t causal_bytes(const Recipe& recipe, const CausalProfile& profile,
                     const models::TransformerSpec& spec, const Geometry& geometry,
                     int64_t element_bytes);

// Chooses recipe.causal_window: the profile's in 16 bit, then in int8, then 12 frames with 3 sinks
// in int8: the first that `fits`; the last one when none does. kv int8: not the first.
void choose_window(KvCache kv, Recipe& recipe, const std::function<bool(const Recipe&)>& fits);

// "16-bit, 21 latent frames, 0 sinks: 6.04 GB" and the rest, for --dry-run.
ResolvedSettings describe_causal(const Recipe& recipe, const Model& model, int64_t element_bytes);

// All prompts of a recipe.
CausalText encode_causal_text(const Recipe& recipe, const Model& model, ConditionCache& cache,
                              const weights::StreamOptions& stream, Run& run);

struct CausalVideo {
  const Recipe& recipe;
  const Model& model;
  const CausalText& text;
  const VideoFormat& format;
  const GenerateOutputs& outputs;
  const std::string& recipe_json;
  const StepState& start;      // CausalJob::start
  const StepPreview* preview;  // may be null
  // Behind each chunk, where a state is wanted and the video is not too long for one.
  std::function<void(const StepState& state)> remember;
  // Runs `work`; errors of the libraries below become ours.
  std::function<void(const std::function<void()>& work)> translated;
};

// Finished latents that are kept in host memory for the state of a video (16 channels at 832x480:
// 1.6 MB a second); a longer one has no state.
constexpr int64_t kStateBytes = int64_t{1} << 30;

// Latents are saved as GenerateOutputs says. When anything but the user ends the run, those that
// are done go to rescue_latents_path, as far as they are remembered (kRescueBytes).
void run_causal_video(const CausalVideo& video, const DenoiseTools& tools, Run& run);

// Latents kept for a rescue; a longer video is not rescued unless its latents are saved anyway.
constexpr int64_t kRescueBytes = int64_t{64} << 20;

}  // namespace t2v::pipeline
