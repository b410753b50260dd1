#include "pipeline/engine_state.h"

#include <system_error>
#include <utility>

#include "core/check.h"
#include "ops/copy_lane.h"
#include "ops/device.h"
#include "pipeline/causal_run.h"
#include "pipeline/decode_stage.h"
#include "pipeline/encode_stage.h"
#include "pipeline/fit_advice.h"
#include "pipeline/preview_fit.h"
#include "pipeline/quant_choice.h"
#include "pipeline/recipe.h"
#include "pipeline/run_profile.h"

namespace t2v::pipeline {

using models::wan::Expert;

namespace {

// Names a set of LoRAs.
std::string lora_words(const EngineOptions& options) {
  std::string words;
  for (const LoraOption& lora : options.loras)
    words += core::str(lora.path, '@', lora.expert, ':', lora.strength, ' ');
  return words;
}

}  // namespace

EngineState::EngineState(const EngineOptions& options)
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

Geometry EngineState::geometry_of(const Recipe& r) const {
  if (!r.causal.empty()) return causal_geometry(r, find_profile(r.causal), model_.geometry_rules());
  return make_geometry(r.width, r.height, r.frames, model_.geometry_rules());
}

std::string EngineState::recipe_json(const Recipe& recipe) const {
  return recipe_to_json(recipe, model_, options_, dtype_word(compute_.dtype));
}

VideoFormat EngineState::format_of(const Recipe& r, const GenerateOutputs& outputs) const {
  return {.width = r.width,
          .height = r.height,
          .num_frames = r.frames,
          .fps = r.fps,
          .recipe_json = outputs.embed_recipe ? recipe_json(r) : std::string()};
}

PlanInput EngineState::plan_input_of(const Recipe& recipe, const Compute& compute) const {
  PlanInput input = plan_input(recipe, model_, compute, base_host_bytes_);
  plan_causal(recipe, model_, input);
  input.transformer.loras = loras_.bytes();
  return input;
}

MemoryPlan EngineState::memory_plan(const Recipe& recipe, const Together& together) const {
  PlanInput input = plan_input_of(recipe, compute_);
  input.videos = together.videos;
  input.decodes_along |= together.decodes_along;
  input.encodes_along = together.encodes_along;
  return make_plan(input, choose_budgets(options_, compute_));
}

MemoryPlan EngineState::memory_plan_with(const EngineOptions& options, const Recipe& recipe) const {
  Compute compute = compute_;
  if (options.quant != options_.quant)
    compute.quant = quant_plan(options.quant, options, model_, compute);
  return make_plan(plan_input_of(recipe, compute), choose_budgets(options, compute));
}

void EngineState::require_fit(const MemoryPlan& plan, const Recipe& recipe) const {
  const std::string misfit = describe_misfit(plan, recipe, compute_);
  if (misfit.empty()) return;
  const std::string advice = fit_advice(*this, recipe);
  throw Error(ErrorKind::kOutOfMemory,
              core::str(misfit, "; try ",
                        advice.empty() ? "a smaller model or a machine with more memory: no other "
                                         "size, length or way to keep weights is enough here"
                                       : advice));
}

void EngineState::resolve_window(Recipe& recipe) const {
  require_causal_weights(model_, recipe.causal, options_.force_causal);
  T2V_REQUIRE(options_.vae_tiling != VaeTiling::kOn, ErrorKind::kUsage,
              "--vae-tiling on: tiles need the whole video, a causal run decodes while it goes; "
              "try --vae-tiling off");
  choose_window(options_.kv, recipe, [&](const Recipe& r) { return fits(memory_plan(r)); });
}

void EngineState::begin(const MemoryPlan& plan) {
  begin_on_device(plan.budgets);
  conditions_.set_limit(plan.condition_cache_bytes);
}

void EngineState::begin_on_device(const Budgets& budgets) {
  if (compute_.device.is_cpu()) return;
  allowed_device_bytes_ = budgets.vram;
  ops::limit_device_memory(compute_.device, budgets.vram - kDeviceContextBytes);
  ops::reset_device_peak(compute_.device);
}

// An expert with its blocks still in the files.
std::unique_ptr<models::wan::Transformer> EngineState::open_expert(
    Expert expert, const models::wan::BlockPlan& plan) const {
  const bool high = expert == Expert::kHighNoise;
  auto map = std::make_shared<weights::WeightMap>(
      open_weights(model_, high ? "transformer" : "transformer_2"));
  map->attach(high ? loras_.high_noise : loras_.low_noise);
  return std::make_unique<models::wan::Transformer>(model_.transformer, std::move(map), plan,
                                                    compute_.dtype, compute_.device);
}

DenoiseTools EngineState::tools(const MemoryPlan& plan) {
  if (!experts_ || !plan.keep_loaded) {
    experts_.emplace(
        [this, blocks = plan.blocks](Expert expert) { return open_expert(expert, blocks); },
        plan.keep_both_experts);
  }
  return {.experts = *experts_,
          .cache = conditions_,
          .after = plan.keep_loaded ? AfterPrompt::kKeep : AfterPrompt::kGiveUp};
}

void EngineState::end_denoising(const MemoryPlan& plan) {
  if (!plan.keep_loaded) experts_.reset();
  trim_host_memory();
}

const models::vae::Decoder& EngineState::decoder(Run& run) {
  if (!decoder_) decoder_.emplace(load_decoder(model_, run));
  return *decoder_;
}

const PreviewFactors& EngineState::preview_factors(Run& run) {
  if (!preview_factors_) preview_factors_ = preview_factors_of(model_);
  if (preview_factors_) return *preview_factors_;
  try {
    preview_factors_ = fit_preview_factors(load_encoder(model_, run), run);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kModel) throw;
    throw Error(ErrorKind::kUsage,
                core::str("--preview: no linear map to colours is known for a VAE of ",
                          model_.vae.z_dim, " channels, and it has no encoder to find one with; ",
                          "try without it, or 'preview_factors' in the model's t2v.json (",
                          error.what(), ")"));
  }
  return *preview_factors_;
}

models::vae::Tiling EngineState::plan_decoding(at::IntArrayRef latents) {
  const Budgets budgets = choose_budgets(options_, compute_);
  begin_on_device(budgets);
  return plan_decode(decode_input(model_, compute_, latents, base_host_bytes_), budgets);
}

void EngineState::translated(const std::function<void()>& work) const {
  try {
    work();
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kOutOfMemory,
                "out of host memory; try a smaller --ram-budget, a smaller --size or fewer "
                "--frames");
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::resource_unavailable_try_again) throw;
    throw Error(
        ErrorKind::kOutOfMemory,
        "cannot start a thread: no memory or no process left to this user; try --threads 1");
  } catch (const c10::Error& error) {
    throw from_torch_error(error, device_room());
  }
}

// What the device has at the moment of an error; nothing when it does not answer.
std::optional<DeviceRoom> EngineState::device_room() const noexcept {
  if (compute_.device.is_cpu()) return std::nullopt;
  try {
    return DeviceRoom{.free_bytes = available_device_bytes(compute_.device),
                      .allowed_bytes = allowed_device_bytes_};
  } catch (...) {
    return std::nullopt;
  }
}

void EngineState::give_up_memory() noexcept {
  experts_.reset();
  decoder_.reset();
  conditions_.clear();
  if (compute_.device.is_cpu()) return;
  try {
    ops::CopyLane(compute_.device).settle();
    ops::release_device_cache(compute_.device);
  } catch (...) {  // a device that has failed keeps what it has
  }
}

void EngineState::complete(Run& run, const Recipe& recipe) const {
  Report& report = run.report();
  report.recipe = recipe;
  report.device = describe(compute_);
  report.model = model_.variant.name;
  report.total_ms = run.elapsed_ms();
  run.end_profile();
  report.host_peak_bytes = peak_host_bytes();
  if (!compute_.device.is_cpu()) report.device_peak_bytes = ops::device_peak_bytes(compute_.device);
  // Last: it takes memory of its own.
  if (compute_.profile) report.peak_flop_per_s = peak_flop_per_s(compute_.device, compute_.dtype);
}

}  // namespace t2v::pipeline
