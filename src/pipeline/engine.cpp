// The engine behind include/t2v/engine.h: opens a model, runs the stages, keeps nothing half done.
#include "t2v/engine.h"

#include <c10/core/InferenceMode.h>

#include <optional>

#include "core/check.h"
#include "core/log.h"
#include "ops/copy_lane.h"
#include "ops/device.h"
#include "pipeline/causal_run.h"
#include "pipeline/compute.h"
#include "pipeline/condition_cache.h"
#include "pipeline/decode_stage.h"
#include "pipeline/denoise_stage.h"
#include "pipeline/device_errors.h"
#include "pipeline/initial_noise.h"
#include "pipeline/inspect.h"
#include "pipeline/loras.h"
#include "pipeline/model.h"
#include "pipeline/quant_choice.h"
#include "pipeline/recipe.h"
#include "pipeline/residency.h"
#include "pipeline/text_stage.h"
#include "pipeline/tokenizer_engine.h"
#include "sched/guidance.h"
#include "text/prompt_clean.h"

namespace t2v::pipeline {
namespace {

using models::wan::Expert;
using models::wan::Experts;

// Names a set of LoRAs.
std::string lora_words(const EngineOptions& options) {
  std::string words;
  for (const LoraOption& lora : options.loras)
    words += core::str(lora.path, '@', lora.expert, ':', lora.strength, ' ');
  return words;
}

class WanEngine final : public Engine {
 public:
  explicit WanEngine(const EngineOptions& options)
      : options_(options),
        model_(open_model(options, open_storage(options))),
        compute_(choose_compute(options)),
        loras_(open_loras(options, model_)),
        base_host_bytes_(current_host_bytes()),
        conditions_(lora_words(options), options.condition_cache) {
    options_.quant = choose_quant(options_, model_);
    compute_.quant = quant_plan(options_.quant, options_, model_, compute_);
    ops::require_attention(compute_.attention, compute_.device, compute_.dtype,
                           model_.transformer.head_size);
  }

  Recipe resolve(const Request& request) const override {
    Recipe recipe = resolve_recipe(request, model_);
    if (!recipe.causal.empty()) {
      resolve_window(recipe);
    } else {
      T2V_REQUIRE(options_.kv == KvCache::kAuto && !options_.force_causal, ErrorKind::kUsage,
                  "--kv int8 and --force-causal are for causal runs; try --causal PROFILE");
    }
    require_fit(memory_plan(recipe), recipe, compute_);
    if (!recipe.latents_path.empty()) make_initial_noise(recipe, geometry_of(recipe));
    return recipe;
  }
  std::string recipe_json(const Recipe& recipe) const override {
    return recipe_to_json(recipe, model_, options_, dtype_word(compute_.dtype));
  }
  ResolvedSettings plan(const Recipe& recipe) const override {
    ResolvedSettings lines = plan_of(recipe, model_, compute_);
    for (auto& line : describe_causal(recipe, model_, element_bytes()))
      lines.push_back(std::move(line));
    for (auto& line : describe_plan(memory_plan(recipe), compute_))
      lines.push_back(std::move(line));
    return lines;
  }

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
    if (!r.causal.empty())
      return causal_geometry(r, find_profile(r.causal), model_.geometry_rules());
    return make_geometry(r.width, r.height, r.frames, model_.geometry_rules());
  }

  int64_t element_bytes() const { return compute_.dtype == at::kFloat ? 4 : 2; }

  // Keys and values of a causal run as this machine's memory allows.
  void resolve_window(Recipe& recipe) const {
    require_causal_weights(model_, recipe.causal, options_.force_causal);
    T2V_REQUIRE(options_.vae_tiling != VaeTiling::kOn, ErrorKind::kUsage,
                "--vae-tiling on: tiles need the whole video, a causal run decodes while it goes; "
                "try --vae-tiling off");
    choose_window(options_.kv, recipe, [&](const Recipe& r) { return fits(memory_plan(r)); });
  }

  // Memory of a failed run is given back, so that the next one starts as the first did.
  Report guarded(const std::function<Report()>& work) {
    const c10::InferenceMode no_gradients;
    Report report;
    try {
      translated([&] { report = work(); });
    } catch (...) {
      give_up_memory();
      throw;
    }
    return report;
  }

  // Errors of the libraries below become ours.
  void translated(const std::function<void()>& work) const {
    try {
      work();
    } catch (const std::bad_alloc&) {
      throw Error(ErrorKind::kOutOfMemory,
                  "out of host memory; try a smaller --ram-budget, a smaller --size or fewer "
                  "--frames");
    } catch (const c10::Error& error) {
      throw from_torch_error(error, device_room());
    }
  }

  // What the device has at the moment of an error; nothing when it does not answer.
  std::optional<DeviceRoom> device_room() const noexcept {
    if (compute_.device.is_cpu()) return std::nullopt;
    try {
      return DeviceRoom{.free_bytes = available_device_bytes(compute_.device),
                        .allowed_bytes = allowed_device_bytes_};
    } catch (...) {
      return std::nullopt;
    }
  }

  void give_up_memory() noexcept {
    experts_.reset();
    conditions_.clear();
    if (compute_.device.is_cpu()) return;
    try {
      ops::CopyLane(compute_.device).settle();
      ops::release_device_cache(compute_.device);
    } catch (...) {  // a device that has failed keeps what it has
    }
  }

  // From here on the allocator keeps to the budget, and its statistics are this run's.
  void begin_on_device(const Budgets& budgets) {
    if (compute_.device.is_cpu()) return;
    allowed_device_bytes_ = budgets.vram;
    ops::limit_device_memory(compute_.device, budgets.vram - kDeviceContextBytes);
    ops::reset_device_peak(compute_.device);
  }

  Report run_generate(const Recipe& recipe, const GenerateOutputs& outputs,
                      ProgressListener& progress, const CancelToken& cancel) {
    Run run(compute_, progress, cancel, !outputs.dump_path.empty());
    if (!recipe.causal.empty()) return run_causal(recipe, outputs, run);
    const at::Tensor noise = make_initial_noise(recipe, geometry_of(recipe));
    const auto schedule =
        sched::make_noise_schedule(recipe.solver, recipe.sigma_table, recipe.steps, recipe.shift);
    // A dump always shows the negative prompt, also when no step uses it.
    const bool with_uncond = any_step_guided(recipe, schedule) || run.dump().wanted();
    const MemoryPlan plan = memory_plan(recipe);
    require_fit(plan, recipe, compute_);
    begin_on_device(plan.budgets);
    conditions_.set_limit(plan.condition_cache_bytes);
    const TextEmbeddings text = encode_text(recipe, with_uncond, plan, run);
    trim_host_memory();
    const at::Tensor latents = denoise(recipe, text, noise, plan, run);
    const std::string json = recipe_json(recipe);
    if (!outputs.save_latents_path.empty()) write_latents(outputs.save_latents_path, latents, json);
    if (outputs.sink || run.dump().wanted())
      decode_or_rescue(latents, plan.vae_tiling, format_of(recipe, outputs), outputs, run);
    if (run.dump().wanted()) run.dump().write(outputs.dump_path);
    return finish_report(run, recipe);
  }

  TextEmbeddings encode_text(const Recipe& recipe, bool with_uncond, const MemoryPlan& plan,
                             Run& run) {
    std::vector<NamedPrompt> prompts = {{recipe.prompt, "prompt", "prompt"}};
    if (with_uncond) prompts.push_back({recipe.negative_prompt, "negative", "negative"});
    auto rows = run_text_stage(model_, prompts, conditions_, plan.text_stream, run);
    TextEmbeddings text{.cond = std::move(rows[0]), .uncond = {}};
    if (with_uncond) text.uncond = std::move(rows[1]);
    return text;
  }

  Report run_causal(const Recipe& recipe, const GenerateOutputs& outputs, Run& run) {
    const MemoryPlan plan = memory_plan(recipe);
    require_fit(plan, recipe, compute_);
    begin_on_device(plan.budgets);
    conditions_.set_limit(plan.condition_cache_bytes);
    const CausalText text = encode_causal_text(recipe, plan, run);
    trim_host_memory();
    use_experts(plan);
    const VideoFormat format = format_of(recipe, outputs);
    const std::string json = recipe_json(recipe);
    const DenoiseTools tools{
        .experts = *experts_, .cache = conditions_, .after = after_prompt(plan)};
    run_causal_video({.recipe = recipe,
                      .model = model_,
                      .text = text,
                      .format = format,
                      .outputs = outputs,
                      .recipe_json = json,
                      .translated = [this](const auto& work) { translated(work); }},
                     tools, run);
    if (!plan.keep_loaded) experts_.reset();
    trim_host_memory();
    if (run.dump().wanted()) run.dump().write(outputs.dump_path);
    return finish_report(run, recipe);
  }

  CausalText encode_causal_text(const Recipe& recipe, const MemoryPlan& plan, Run& run) {
    std::vector<NamedPrompt> prompts = {{recipe.prompt, "prompt", "prompt"}};
    for (const PromptAt& change : recipe.prompts_at)
      prompts.push_back({change.prompt, core::str("prompt at ", change.seconds, " s"), ""});
    const bool guided = sched::needs_uncond(recipe.guidance_scale.high_noise);
    if (guided) prompts.push_back({recipe.negative_prompt, "negative", "negative"});
    CausalText text;
    text.prompts = run_text_stage(model_, prompts, conditions_, plan.text_stream, run);
    if (!guided) return text;
    text.uncond = std::move(text.prompts.back());
    text.prompts.pop_back();
    return text;
  }

  MemoryPlan memory_plan(const Recipe& recipe) const {
    PlanInput input = plan_input(recipe, model_, compute_, base_host_bytes_);
    plan_causal(recipe, model_, input);
    input.transformer.loras = loras_.bytes();
    return make_plan(input, choose_budgets(options_, compute_));
  }

  // An expert with its blocks still in the files.
  std::unique_ptr<models::wan::Transformer> open_expert(Expert expert,
                                                        const models::wan::BlockPlan& plan) const {
    const bool high = expert == Expert::kHighNoise;
    auto map = std::make_shared<weights::WeightMap>(
        open_weights(model_, high ? "transformer" : "transformer_2"));
    map->attach(high ? loras_.high_noise : loras_.low_noise);
    return std::make_unique<models::wan::Transformer>(model_.transformer, std::move(map), plan,
                                                      compute_.dtype, compute_.device);
  }

  // Experts that stayed from the prompt before serve this one too, when its plan still has room.
  void use_experts(const MemoryPlan& plan) {
    if (experts_ && plan.keep_loaded) return;
    experts_.emplace(
        [this, blocks = plan.blocks](Expert expert) { return open_expert(expert, blocks); },
        plan.keep_both_experts);
  }

  static AfterPrompt after_prompt(const MemoryPlan& plan) {
    return plan.keep_loaded ? AfterPrompt::kKeep : AfterPrompt::kGiveUp;
  }

  at::Tensor denoise(const Recipe& recipe, const TextEmbeddings& text, const at::Tensor& noise,
                     const MemoryPlan& plan, Run& run) {
    use_experts(plan);
    at::Tensor latents = run_denoise_stage(
        recipe, text, noise,
        {.experts = *experts_, .cache = conditions_, .after = after_prompt(plan)}, run);
    if (!plan.keep_loaded) experts_.reset();
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
  void decode_or_rescue(const at::Tensor& latents, const models::vae::Tiling& tiling,
                        const VideoFormat& format, const GenerateOutputs& outputs, Run& run) {
    try {
      translated([&] { run_decode_stage(model_, latents, format, outputs.sink, run, tiling); });
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
    const Budgets budgets = choose_budgets(options_, compute_);
    begin_on_device(budgets);
    const PlanInput input = decode_input(model_, compute_, z.sizes(), base_host_bytes_);
    run_decode_stage(model_, z, format, &sink, run, plan_decode(input, budgets));
    return finish_report(run, recipe);
  }

  double saved_fps(const SavedLatents& saved) const {
    return saved.fps.value_or(
        overlay(model_.own_settings, model_.variant.defaults).fps.value_or(16));
  }

  Report finish_report(Run& run, const Recipe& recipe) const {
    Report& report = run.report();
    report.recipe = recipe;
    report.device = describe(compute_);
    report.model = model_.variant.name;
    report.total_ms = run.elapsed_ms();
    report.host_peak_bytes = peak_host_bytes();
    if (!compute_.device.is_cpu())
      report.device_peak_bytes = ops::device_peak_bytes(compute_.device);
    return report;
  }

  EngineOptions options_;
  Model model_;
  Compute compute_;
  ExpertLoras loras_;
  int64_t base_host_bytes_;  // of the process, before any weight was read
  int64_t allowed_device_bytes_ = 0;
  ConditionCache conditions_;
  std::optional<Experts> experts_;
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
