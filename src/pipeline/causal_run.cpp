#include "pipeline/causal_run.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "core/check.h"
#include "pipeline/initial_noise.h"
#include "pipeline/stream_decode.h"
#include "sched/guidance.h"

namespace t2v::pipeline {
namespace {

// What is left of a window that does not fit (specs: kv-cache, "Planner").
constexpr int64_t kSmallWindow = 12;
constexpr int64_t kSmallSinks = 3;

int64_t num_caches(const Recipe& recipe) {
  return sched::needs_uncond(recipe.guidance_scale.high_noise) ? 2 : 1;
}

// Of all finished latents.
int64_t latent_bytes(const Geometry& g) {
  return g.latent_channels * g.latent_frames * g.latent_height * g.latent_width *
         static_cast<int64_t>(sizeof(float));
}

bool has_state(const Geometry& geometry) { return latent_bytes(geometry) <= kStateBytes; }

// Finished latents, for those who want them: all, or as many as a rescue may take.
class LatentStore {
 public:
  explicit LatentStore(const GenerateOutputs& outputs, bool dump)
      : all_(!outputs.save_latents_path.empty() || dump),
        rescue_(!outputs.rescue_latents_path.empty()) {}

  void add(const at::Tensor& latents) {
    bytes_ += static_cast<int64_t>(latents.nbytes());
    if (all_ || (rescue_ && bytes_ <= kRescueBytes)) {
      chunks_.push_back(latents);
    } else {
      chunks_.clear();
      is_whole_ = false;
    }
  }
  // What there is: from the first frame on; undefined when nothing, or not everything, was kept.
  [[nodiscard]] at::Tensor latents() const {
    return !is_whole_ || chunks_.empty() ? at::Tensor() : at::cat(chunks_, 1);
  }

 private:
  bool all_, rescue_;
  bool is_whole_ = true;
  int64_t bytes_ = 0;
  std::vector<at::Tensor> chunks_;
};

// What a failed run leaves, in words.
std::string rescue(const LatentStore& store, const CausalVideo& video) {
  const std::string& path = video.outputs.rescue_latents_path;
  const at::Tensor latents = store.latents();
  if (path.empty() || !latents.defined()) return "";
  try {
    write_latents(path, latents, video.recipe_json);
    return core::str("; the latents of the first ", (latents.size(1) - 1) * 4 + 1,
                     " frames are in '", path, "'");
  } catch (const Error& second) {
    return core::str("; the latents could not be saved either: ", second.what());
  }
}

void add_stage(Run& run, Stage stage, double wall_ms, int64_t bytes_read) {
  run.report().stages.push_back({.stage = stage,
                                 .start_ms = run.elapsed_ms() - wall_ms,
                                 .wall_ms = wall_ms,
                                 .bytes_read = bytes_read});
}

void finish_decoder(StreamDecoder& decoder, const VideoFormat& format, Run& run) {
  decoder.finish();
  run.tell(Stage::kVaeDecode, decoder.frames_done(), format.num_frames);
  add_stage(run, Stage::kVaeDecode, decoder.decode_ms(), decoder.bytes_read());
  add_stage(run, Stage::kVideoEncode, decoder.encode_ms(), 0);
  if (!run.dump().wanted()) return;
  run.dump().add("video", at::cat(decoder.kept_frames(), 1).unsqueeze(0));
  run.dump().add("frames_u8", at::cat(decoder.kept_rgb8()));
}

void make_video(const CausalVideo& video, const DenoiseTools& tools, LatentStore& store, Run& run) {
  const CausalProfile profile = find_profile(video.recipe.causal);
  const GeometryRules rules = video.model.geometry_rules();
  const Geometry geometry = causal_geometry(video.recipe, profile, rules);
  CausalJob job{.recipe = video.recipe,
                .profile = profile,
                .geometry = geometry,
                .text = video.text,
                .temporal_scale = rules.temporal_scale,
                .noise = {},
                .start = video.start,
                .preview = video.preview};
  if (!video.outputs.checkpoint_path.empty() && has_state(geometry))
    job.after_chunk = video.remember;
  if (!video.recipe.latents_path.empty()) job.noise = make_initial_noise(video.recipe, geometry);
  std::unique_ptr<StreamDecoder> decoder;
  if (video.outputs.sink != nullptr || run.dump().wanted())
    decoder = std::make_unique<StreamDecoder>(
        video.model, video.format, video.outputs.sink, run.compute(),
        run.dump().wanted() ? StreamDecoder::Frames::kAlsoKept : StreamDecoder::Frames::kWritten,
        [&run] { run.check_cancelled(); });
  run_causal_stage(job, tools, run, [&](const at::Tensor& latents) {
    store.add(latents);
    if (decoder) decoder->push(latents);
  });
  if (!video.outputs.save_latents_path.empty())
    write_latents(video.outputs.save_latents_path, store.latents(), video.recipe_json);
  if (run.dump().wanted()) run.dump().add("latents_final", store.latents().unsqueeze(0));
  if (decoder) finish_decoder(*decoder, video.format, run);
}

// Flags that a profile decides about.
void refuse_fixed(bool given, const char* flag, const std::string& profile) {
  T2V_REQUIRE(!given, ErrorKind::kUsage, flag, ": the causal profile '", profile,
              "' decides about it (--causal); try without, or a profile of your own");
}

}  // namespace

void resolve_causal(const Request& request, const Model& model, Recipe& r) {
  r.causal = request.causal.empty() ? model.own_settings.causal.value_or("") : request.causal;
  if (r.causal.empty()) {
    T2V_REQUIRE(request.prompts_at.empty() && !request.prompt_change && !request.sink_rope,
                ErrorKind::kUsage,
                "--prompt-at, --prompt-change and --sink-rope are for causal runs; try --causal "
                "with a causal checkpoint");
    return;
  }
  const CausalProfile profile = find_profile(r.causal);
  refuse_fixed(request.solver.has_value(), "--solver", r.causal);
  refuse_fixed(request.sigma_table.has_value(), "--sigma-table", r.causal);
  const auto steps = static_cast<int64_t>(profile.timesteps.size());
  refuse_fixed(request.steps.value_or(steps) != steps, "--steps", r.causal);
  refuse_fixed(request.shift.value_or(profile.shift) != profile.shift, "--shift", r.causal);
  r.steps = steps;
  r.shift = profile.shift;
  r.solver = profile.sampler == CausalSampler::kUniPC ? Solver::kUniPC : Solver::kEuler;
  r.sigma_table = SigmaTable::kWan;
  const auto guidance = request.guidance_scale_high  ? request.guidance_scale_high
                        : request.guidance_scale_low ? request.guidance_scale_low
                                                     : request.guidance_scale;
  const double scale = guidance.value_or(profile.guidance_scale);
  r.guidance_scale = {scale, scale};
  if (!request.fps) r.fps = profile.fps;
  if (request.seconds)
    r.frames = frames_for_seconds(*request.seconds, r.fps, model.geometry_rules());
  causal_geometry(r, profile, model.geometry_rules());
  r.prompts_at = request.prompts_at;
  double before = 0;
  for (const PromptAt& change : r.prompts_at) {
    T2V_REQUIRE(std::isfinite(change.seconds) && change.seconds >= before, ErrorKind::kUsage,
                "bad time of a prompt: ", change.seconds, " s, expected at least ", before,
                " (--prompt-at, in order)");
    before = change.seconds;
  }
  r.prompt_change = request.prompt_change.value_or(profile.prompt_change);
  r.sink_rope = request.sink_rope.value_or(profile.sink_rope);
  r.causal_window = {.frames = profile.window, .sinks = profile.sinks, .int8 = false};
}

void choose_window(KvCache kv, Recipe& recipe, const std::function<bool(const Recipe&)>& fits) {
  const CausalProfile profile = find_profile(recipe.causal);
  std::vector<CausalWindow> ways;
  if (kv == KvCache::kAuto) ways.push_back({profile.window, profile.sinks, false});
  ways.push_back({profile.window, profile.sinks, true});
  const int64_t sinks = std::max(profile.sinks, kSmallSinks);
  if (profile.window > kSmallWindow && sinks + profile.largest_chunk() <= kSmallWindow)
    ways.push_back({kSmallWindow, sinks, true});
  for (const CausalWindow& way : ways) {
    recipe.causal_window = way;
    if (fits(recipe)) return;
  }
}

int64_t causal_bytes(const Recipe& recipe, const CausalProfile& profile,
                     const models::TransformerSpec& spec, const Geometry& geometry,
                     int64_t element_bytes) {
  return num_caches(recipe) *
         models::wan::cache_bytes(cache_shape(recipe, profile, spec, geometry), element_bytes);
}

void plan_causal(const Recipe& recipe, const Model& model, PlanInput& input) {
  if (recipe.causal.empty()) return;
  const CausalProfile profile = find_profile(recipe.causal);
  const Geometry geometry = causal_geometry(recipe, profile, model.geometry_rules());
  const int64_t frame_tokens = geometry.num_tokens / geometry.latent_frames;
  input.causal_bytes =
      causal_bytes(recipe, profile, model.transformer, geometry, input.element_bytes);
  // q, k, v and results are of one chunk; a chunk's gather of a ring that is not full yet, or a
  // tile of expanded int8 keys, is beside them.
  input.geometry.num_tokens = profile.largest_chunk() * frame_tokens;
  input.causal_bytes +=
      2 * recipe.causal_window.frames * frame_tokens * input.spec.size() * input.element_bytes;
  // Kept, and joined once more while they are written.
  if (has_state(geometry)) input.base_host_bytes += 2 * latent_bytes(geometry);
  input.decodes_along = true;
  input.decode.num_latents = std::min(input.decode.num_latents, profile.largest_chunk() + 1);
  if (!recipe.prompts_at.empty()) input.extra_conditions = 1;  // goes when the new one is made
}

ResolvedSettings describe_causal(const Recipe& recipe, const Model& model, int64_t element_bytes) {
  if (recipe.causal.empty()) return {};
  const CausalProfile profile = find_profile(recipe.causal);
  const Geometry geometry = causal_geometry(recipe, profile, model.geometry_rules());
  const CausalWindow& window = recipe.causal_window;
  const int64_t bytes = causal_bytes(recipe, profile, model.transformer, geometry, element_bytes);
  std::string kv = core::str(window.int8          ? "int8"
                             : element_bytes == 4 ? "fp32"
                                                  : "16-bit",
                             ", ", window.frames, " latent frames, ", window.sinks, " sinks (",
                             sink_rope_name(recipe.sink_rope), "): ", gigabytes(bytes));
  if (window.frames != profile.window)
    kv += core::str("; the profile's ", profile.window, " frames do not fit");
  ResolvedSettings lines;
  lines.emplace_back("causal chunks", core::str(profile.first_chunk, " latent frames, then ",
                                                profile.chunk, " each: ", geometry.latent_frames,
                                                " in all; ", sampler_name(profile.sampler), ", ",
                                                profile.timesteps.size(), " steps"));
  lines.emplace_back("keys and values", kv);
  if (!has_state(geometry))
    lines.emplace_back("state for --resume",
                       core::str("none: latents of ", gigabytes(latent_bytes(geometry)),
                                 ", at most ", gigabytes(kStateBytes), " are kept for one"));
  return lines;
}

void run_causal_video(const CausalVideo& video, const DenoiseTools& tools, Run& run) {
  LatentStore store(video.outputs, run.dump().wanted());
  try {
    video.translated([&] { make_video(video, tools, store, run); });
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kCancelled) throw;
    throw Error(error.kind(), error.what() + rescue(store, video));
  }
}

CausalText encode_causal_text(const Recipe& recipe, const Model& model, ConditionCache& cache,
                              const weights::StreamOptions& stream, Run& run) {
  std::vector<NamedPrompt> prompts = {{recipe.prompt, "prompt", "prompt"}};
  for (const PromptAt& change : recipe.prompts_at)
    prompts.push_back({change.prompt, core::str("prompt at ", change.seconds, " s"), ""});
  const bool guided = sched::needs_uncond(recipe.guidance_scale.high_noise);
  if (guided) prompts.push_back({recipe.negative_prompt, "negative prompt", "negative"});
  CausalText text;
  text.prompts = run_text_stage(model, prompts, cache, stream, run);
  for (size_t i = 0; i < prompts.size(); ++i)
    warn_of_cut(text.prompts[i], prompts[i].name, model.text_len, run);
  if (!guided) return text;
  text.uncond = std::move(text.prompts.back());
  text.prompts.pop_back();
  return text;
}

}  // namespace t2v::pipeline
