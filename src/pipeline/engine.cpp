// The engine behind include/t2v/engine.h: opens a model, runs the stages, keeps nothing half done.
#include "t2v/engine.h"

#include <c10/core/InferenceMode.h>

#include <optional>

#include "core/check.h"
#include "core/log.h"
#include "pipeline/compute.h"
#include "pipeline/decode_stage.h"
#include "pipeline/denoise_stage.h"
#include "pipeline/initial_noise.h"
#include "pipeline/inspect.h"
#include "pipeline/model.h"
#include "pipeline/recipe.h"
#include "pipeline/text_stage.h"
#include "pipeline/tokenizer_engine.h"
#include "text/prompt_clean.h"
#include "weights/json_file.h"

namespace t2v::pipeline {
namespace {

using models::wan::Expert;
using models::wan::Experts;

// Both experts of a small model stay in memory, so that a loop over prompts does not reload them.
constexpr int64_t kKeepBothBytes = 1'000'000'000;

class WanEngine final : public Engine {
 public:
  explicit WanEngine(const EngineOptions& options)
      : model_(open_model(options.model_path)), compute_(choose_compute(options)) {}

  Recipe resolve(const Request& request) const override {
    Recipe recipe = resolve_recipe(request, model_);
    require_memory(recipe, model_, compute_);
    if (!recipe.latents_path.empty()) make_initial_noise(recipe, geometry_of(recipe));
    return recipe;
  }
  std::string recipe_json(const Recipe& recipe) const override {
    return recipe_to_json(recipe, model_, dtype_word(compute_.dtype));
  }
  ResolvedSettings plan(const Recipe& recipe) const override {
    return plan_of(recipe, model_, compute_);
  }
  std::string inspect_json() const override { return inspect_to_json(model_); }
  std::string inspect_text() const override { return inspect_to_text(model_); }

  std::vector<std::pair<std::string, ResolvedSettings>> presets() const override {
    std::vector<std::pair<std::string, ResolvedSettings>> all;
    for (const char* name : kPresetNames) all.emplace_back(name, preset_values(name, model_));
    return all;
  }

  TokenizedPrompt tokenize(const std::string& prompt) const override {
    TokenizedPrompt result{
        .text = prompt, .clean = text::clean_prompt(prompt), .ids = {}, .truncated = false};
    auto encoded = model_.tokenizer->encode(result.clean, model_.text_len);
    result.ids = std::move(encoded.ids);
    result.truncated = encoded.truncated;
    return result;
  }

  Report generate(const Recipe& recipe, const GenerateOutputs& outputs, ProgressListener& progress,
                  const CancelToken& cancel) override {
    return guarded([&] { return run_generate(recipe, outputs, progress, cancel); });
  }

  Report decode(const std::string& latents_path, double fps, FrameSink& sink,
                ProgressListener& progress, const CancelToken& cancel) override {
    return guarded([&] { return run_decode(latents_path, fps, sink, progress, cancel); });
  }

 private:
  Geometry geometry_of(const Recipe& r) const {
    return make_geometry(r.width, r.height, r.frames, model_.geometry_rules());
  }

  // Errors of the libraries below become ours; memory of a failed run is given back.
  Report guarded(const std::function<Report()>& work) {
    const c10::InferenceMode no_gradients;
    try {
      return work();
    } catch (const Error&) {
      experts_.reset();
      throw;
    } catch (const std::bad_alloc&) {
      experts_.reset();
      throw Error(ErrorKind::kOutOfMemory,
                  "out of host memory; try a smaller --size or fewer --frames");
    } catch (const c10::Error& error) {
      experts_.reset();
      const std::string what = error.what_without_backtrace();
      if (what.find("not enough memory") != std::string::npos ||
          what.find("out of memory") != std::string::npos)
        throw Error(ErrorKind::kOutOfMemory,
                    core::str("out of memory: ", what, "; try a smaller --size or fewer --frames"));
      throw Error(ErrorKind::kInternal,
                  core::str("LibTorch: ", what, "; this is a bug in t2v, please report it"));
    }
  }

  Report run_generate(const Recipe& recipe, const GenerateOutputs& outputs,
                      ProgressListener& progress, const CancelToken& cancel) {
    Run run(compute_, progress, cancel, !outputs.dump_path.empty());
    const at::Tensor noise = make_initial_noise(recipe, geometry_of(recipe));
    const auto schedule =
        sched::make_noise_schedule(recipe.solver, recipe.sigma_table, recipe.steps, recipe.shift);
    // A dump always shows the negative prompt, also when no step uses it.
    const bool with_uncond = any_step_guided(recipe, schedule) || run.dump().wanted();
    const TextEmbeddings text = run_text_stage(model_, recipe, with_uncond, run);
    trim_host_memory();
    const at::Tensor latents = denoise(recipe, text, noise, run);
    const std::string json = recipe_json(recipe);
    if (!outputs.save_latents_path.empty()) write_latents(outputs.save_latents_path, latents, json);
    if (outputs.sink || run.dump().wanted())
      decode_or_rescue(latents, format_of(recipe, outputs), outputs, run);
    if (run.dump().wanted()) run.dump().write(outputs.dump_path);
    return finish_report(run, recipe);
  }

  at::Tensor denoise(const Recipe& recipe, const TextEmbeddings& text, const at::Tensor& noise,
                     Run& run) {
    if (!experts_) {
      int64_t bytes = open_weights(model_, "transformer").checkpoint().bytes_total();
      keep_experts_ = 2 * bytes <= kKeepBothBytes;
      experts_.emplace([this](Expert expert) { return load_expert(model_, expert, *current_run_); },
                       keep_experts_);
    }
    current_run_ = &run;
    at::Tensor latents = run_denoise_stage(
        recipe, text, noise,
        [&](Expert expert) -> const models::wan::Transformer& {
          if (!experts_->is_loaded(expert)) trim_host_memory();
          return experts_->get(expert);
        },
        run);
    current_run_ = nullptr;
    if (!keep_experts_) experts_.reset();
    trim_host_memory();
    return latents;
  }

  VideoFormat format_of(const Recipe& r, const GenerateOutputs& outputs) const {
    return {.width = r.width,
            .height = r.height,
            .num_frames = r.frames,
            .fps = r.fps,
            .recipe_json = outputs.embed_recipe ? recipe_json(r) : std::string()};
  }

  // Nothing computed is lost when the last stage fails: the latents are saved for `t2v decode`.
  void decode_or_rescue(const at::Tensor& latents, const VideoFormat& format,
                        const GenerateOutputs& outputs, Run& run) {
    try {
      run_decode_stage(model_, latents, format, outputs.sink, run);
    } catch (const Error& error) {
      if (outputs.rescue_latents_path.empty() || error.kind() == ErrorKind::kCancelled) throw;
      std::string saved;
      try {
        write_latents(outputs.rescue_latents_path, latents, format.recipe_json);
        saved = core::str("; the finished latents are in '", outputs.rescue_latents_path, "'");
      } catch (const Error& second) {
        saved = core::str("; the latents could not be saved either: ", second.what());
      }
      throw Error(error.kind(), error.what() + saved);
    }
  }

  Report run_decode(const std::string& latents_path, double fps, FrameSink& sink,
                    ProgressListener& progress, const CancelToken& cancel) {
    Run run(compute_, progress, cancel, false);
    const SavedLatents saved = read_latents(latents_path);
    const auto& z = saved.latents;
    T2V_REQUIRE(z.size(0) == model_.vae.z_dim, ErrorKind::kInput, "latents have ", z.size(0),
                " channels, expected ", model_.vae.z_dim, " for this model (", latents_path,
                "); try another --model");
    const GeometryRules rules = model_.geometry_rules();
    Recipe recipe;
    recipe.width = z.size(3) * rules.spatial_scale;
    recipe.height = z.size(2) * rules.spatial_scale;
    recipe.frames = (z.size(1) - 1) * rules.temporal_scale + 1;
    recipe.fps = fps > 0 ? fps : saved_fps(saved);
    const VideoFormat format{.width = recipe.width,
                             .height = recipe.height,
                             .num_frames = recipe.frames,
                             .fps = recipe.fps,
                             .recipe_json = saved.recipe_json};
    run_decode_stage(model_, z, format, &sink, run);
    return finish_report(run, recipe);
  }

  double saved_fps(const SavedLatents& saved) const {
    const double fallback = overlay(model_.own_settings, model_.variant.defaults).fps.value_or(16);
    if (saved.recipe_json.empty()) return fallback;
    try {
      const auto json =
          weights::JsonFile::parse(saved.recipe_json, "saved recipe", ErrorKind::kInput);
      return json.find_double("fps", 0.01, 1000).value_or(fallback);
    } catch (const Error&) {  // a recipe is a convenience: frames can be had without it
      return fallback;
    }
  }

  Report finish_report(Run& run, const Recipe& recipe) const {
    Report& report = run.report();
    report.recipe = recipe;
    report.device = describe(compute_);
    report.model = model_.variant.name;
    report.total_ms = run.elapsed_ms();
    report.host_peak_bytes = peak_host_bytes();
    return report;
  }

  Model model_;
  Compute compute_;
  bool keep_experts_ = false;
  std::optional<Experts> experts_;
  Run* current_run_ = nullptr;  // the run that pays for loading an expert
};

}  // namespace
}  // namespace t2v::pipeline

namespace t2v {

std::unique_ptr<Engine> open_engine(const EngineOptions& options) {
  if (options.model_path.empty() && !options.tokenizer_path.empty())
    return pipeline::open_tokenizer_engine(options.tokenizer_path);
  return std::make_unique<pipeline::WanEngine>(options);
}

}  // namespace t2v
