// The engine behind include/t2v/engine.h: opens a model, resolves requests, hands work to the
// stages.
#include "t2v/engine.h"

#include <c10/core/InferenceMode.h>

#include "core/check.h"
#include "pipeline/batch.h"
#include "pipeline/calibrate.h"
#include "pipeline/causal_run.h"
#include "pipeline/decode_stage.h"
#include "pipeline/encode_plan.h"
#include "pipeline/encode_stage.h"
#include "pipeline/engine_state.h"
#include "pipeline/initial_noise.h"
#include "pipeline/inspect.h"
#include "pipeline/kineto.h"
#include "pipeline/presets.h"
#include "pipeline/recipe.h"
#include "pipeline/run_profile.h"
#include "pipeline/sink_guard.h"
#include "pipeline/tokenizer_engine.h"
#include "pipeline/trace_file.h"
#include "text/prompt_clean.h"

namespace t2v::pipeline {
namespace {

class WanEngine final : public Engine {
 public:
  explicit WanEngine(const EngineOptions& options) : state_(options) {
    if (!options.trace) return;
    core::start_tracing();
    core::name_thread("engine");
  }

  Recipe resolve(const Request& request) const override {
    Recipe recipe = resolve_recipe(request, model());
    const EngineOptions& options = state_.options();
    if (!recipe.causal.empty()) {
      state_.resolve_window(recipe);
    } else {
      T2V_REQUIRE(options.kv == KvCache::kAuto && !options.force_causal, ErrorKind::kUsage,
                  "--kv int8 and --force-causal are for causal runs; try --causal PROFILE");
    }
    state_.require_fit(state_.memory_plan(recipe), recipe);
    if (!recipe.latents_path.empty()) make_initial_noise(recipe, state_.geometry_of(recipe));
    return recipe;
  }
  std::string recipe_json(const Recipe& recipe) const override {
    return state_.recipe_json(recipe);
  }
  ResolvedSettings plan(const Recipe& recipe) const override {
    const int64_t element_bytes = state_.compute().dtype == at::kFloat ? 4 : 2;
    ResolvedSettings lines = plan_of(recipe, model(), state_.compute());
    for (auto& line : describe_causal(recipe, model(), element_bytes))
      lines.push_back(std::move(line));
    for (auto& line : describe_plan(state_.memory_plan(recipe), state_.compute()))
      lines.push_back(std::move(line));
    return lines;
  }

  std::vector<std::pair<std::string, ResolvedSettings>> presets() const override {
    std::vector<std::pair<std::string, ResolvedSettings>> all;
    for (const std::string& name : preset_names())
      all.emplace_back(name, preset_values(name, model()));
    return all;
  }

  void write_trace(const std::string& path) override {
    write_trace_file(path, core::trace_record(), kineto_record());
  }

  Report calibrate_step_cache(const Recipe& recipe, const std::string& table_path,
                              ProgressListener& progress, const CancelToken& cancel) override {
    const c10::InferenceMode no_gradients;
    Report report;
    guarded([&] { report = calibrate(state_, recipe, table_path, progress, cancel); });
    return report;
  }

  Report encode(FrameSource& source, const std::string& latents_path, ProgressListener& progress,
                const CancelToken& cancel) override {
    const c10::InferenceMode no_gradients;
    Run run(state_.compute(), progress, cancel, false);
    guarded([&] { run_encode(source, latents_path, run); });
    return run.report();
  }

  TokenizedPrompt tokenize(const std::string& prompt) const override {
    TokenizedPrompt result{
        .text = prompt, .clean = text::clean_prompt(prompt), .ids = {}, .truncated = false};
    auto encoded = model().tokenizer->encode(result.clean, model().text_len);
    result.ids = std::move(encoded.ids);
    result.truncated = encoded.truncated;
    return result;
  }

  void generate_all(const std::vector<BatchItem>& items, BatchHost& host,
                    ProgressListener& progress, const CancelToken& cancel) override {
    const c10::InferenceMode no_gradients;
    const KinetoWindow window(state_.options().trace, state_.compute().device);
    const BatchTask task{items, host, progress, cancel};
    // With several videos nothing is idle when one of them ends.
    if (state_.compute().profile && items.size() > 1)
      peak_flop_per_s(state_.compute().device, state_.compute().dtype);
    guarded([&] { Batch(state_, task, BadNumbers::kRetryInFp32).run(); });
  }

  Report decode(const std::string& latents_path, double fps, FrameSink& sink,
                ProgressListener& progress, const CancelToken& cancel) override {
    const c10::InferenceMode no_gradients;
    const KinetoWindow window(state_.options().trace, state_.compute().device);
    Run run(state_.compute(), progress, cancel, false);
    guarded([&] { run_decode(latents_path, fps, sink, run); });
    return run.report();
  }

 private:
  [[nodiscard]] const Model& model() const noexcept { return state_.model(); }

  // After an error the engine is as it was when it was opened.
  void guarded(const std::function<void()>& work) {
    try {
      state_.translated(work);
    } catch (...) {
      state_.give_up_memory();
      throw;
    }
  }

  void run_decode(const std::string& latents_path, double fps, FrameSink& sink, Run& run) {
    SinkGuard guard(&sink);
    const SavedLatents saved = read_latents(latents_path);
    const auto& z = saved.latents;
    T2V_REQUIRE(z.size(0) == model().vae.z_dim, ErrorKind::kInput, "latents have ", z.size(0),
                " channels, expected ", model().vae.z_dim, " for this model (", latents_path,
                "); try another --model");
    const GeometryRules rules = model().geometry_rules();
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
    const models::vae::Tiling tiling = state_.plan_decoding(z.sizes());
    run_decode_stage(state_.decoder(run), z, tiling, format, &sink, run);
    state_.drop_decoder();
    state_.complete(run, recipe);
    guard.release();
  }

  void run_encode(FrameSource& source, const std::string& latents_path, Run& run) {
    const SourceFormat format = source.format();
    require_source_fits(format, model().vae);
    const Budgets budgets = choose_budgets(state_.options(), state_.compute());
    require_encode_fit(model(), state_.compute(), budgets, format.width, format.height);
    state_.begin_on_device(budgets);
    const at::Tensor latents = encode_source(load_encoder(model(), run), source, run);
    Recipe recipe;
    recipe.width = format.width;
    recipe.height = format.height;
    recipe.frames = model().vae.num_frames(latents.size(1));
    recipe.fps = format.fps;
    write_latents(latents_path, latents, encoded_json(recipe));
    state_.complete(run, recipe);
  }

  // What `t2v decode` looks for beside the latents.
  static std::string encoded_json(const Recipe& recipe) {
    if (recipe.fps <= 0) return "{}";
    return core::str("{\"fps\":", recipe.fps, "}");
  }

  double saved_fps(const SavedLatents& saved) const {
    return saved.fps.value_or(
        overlay(model().own_settings, model().variant.defaults).fps.value_or(16));
  }

  EngineState state_;
};

}  // namespace
}  // namespace t2v::pipeline

namespace t2v {

std::unique_ptr<Engine> open_engine(const EngineOptions& options) {
  if (options.model_path.empty() && !options.components.tokenizer.empty())
    return pipeline::open_tokenizer_engine(options.components.tokenizer);
  return std::make_unique<pipeline::WanEngine>(options);
}

}  // namespace t2v
