#include "pipeline/recipe.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "core/check.h"
#include "pipeline/causal_profile.h"
#include "pipeline/causal_run.h"
#include "pipeline/image_request.h"
#include "pipeline/loras.h"
#include "pipeline/model_hashes.h"
#include "pipeline/presets.h"
#include "pipeline/step_cache_plan.h"
#include "sched/noise_schedule.h"
#include "t2v/version.h"
#include "weights/storage.h"

namespace t2v::pipeline {
namespace {

using Json = nlohmann::ordered_json;

Settings settings_of(const Request& r) {
  Settings s;
  s.negative_prompt = r.negative_prompt;
  s.width = r.width;
  s.height = r.height;
  s.frames = r.frames;
  s.steps = r.steps;
  s.fps = r.fps;
  s.shift = r.shift;
  s.guidance_scale_high = r.guidance_scale_high ? r.guidance_scale_high : r.guidance_scale;
  s.guidance_scale_low = r.guidance_scale_low ? r.guidance_scale_low : r.guidance_scale;
  s.boundary = r.boundary;
  s.solver = r.solver;
  s.sigma_table = r.sigma_table;
  s.seed = r.seed;
  return s;
}

void require_range(const char* what, const char* flag, double value, double min, double max) {
  T2V_REQUIRE(std::isfinite(value) && value >= min && value <= max, ErrorKind::kUsage, "bad ", what,
              ": ", value, ", expected ", min, " to ", max, " (", flag, ")");
}

uint64_t random_seed() {
  std::random_device device;
  return device();  // 32 bits: short enough to type
}

const char* word_of(weights::LoraExpert expert) noexcept {
  if (expert == weights::LoraExpert::kBoth) return "both";
  return expert == weights::LoraExpert::kHighNoise ? "high" : "low";
}

// What makes the weights others than the model's own; keys of components are flags of `t2v
// generate`.
void add_files(const EngineOptions& options, Json& json) {
  const ComponentPaths& components = options.components;
  for (const auto& [key, path] : {std::pair{"transformer", &components.transformer},
                                  {"transformer_low", &components.transformer_low},
                                  {"text_encoder", &components.text_encoder},
                                  {"vae", &components.vae},
                                  {"tokenizer", &components.tokenizer}}) {
    if (!path->empty()) json[key] = weights::base_name(*path);
  }
  for (const LoraOption& lora : options.loras) {
    json["loras"].push_back({{"file", weights::base_name(lora.path)},
                             {"expert", word_of(expert_of(lora))},
                             {"strength", lora.strength}});
  }
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

// Noise levels: of explicit timesteps, else of a table. The end point 0 is no step.
void resolve_steps(const Request& request, const Settings& s, Recipe& r) {
  r.solver = s.solver.value();
  r.sigma_table = s.sigma_table.value();
  r.shift = s.shift.value();
  r.steps = s.steps.value();
  r.t_list = request.t_list.empty() ? s.t_list.value_or(std::vector<double>()) : request.t_list;
  if (r.t_list.empty()) {
    sched::make_noise_schedule(r.solver, r.sigma_table, r.steps, r.shift);
    return;
  }
  if (r.t_list.back() == 0 && r.t_list.size() > 1) r.t_list.pop_back();
  sched::make_listed_schedule(r.t_list);
  if (!request.solver && !s.t_list) r.solver = Solver::kEuler;
  r.steps = static_cast<int64_t>(r.t_list.size());
  const std::string whose =
      request.t_list.empty() ? core::str("preset '", request.preset, "'") : "--t-list";
  T2V_REQUIRE(request.steps.value_or(r.steps) == r.steps, ErrorKind::kUsage, "--steps ",
              *request.steps, ": ", whose, " has ", r.steps,
              " timesteps; try without, or --t-list");
  T2V_REQUIRE(!request.shift && !request.sigma_table, ErrorKind::kUsage,
              "--shift and --sigma-table make timesteps, but ", whose, " has its own; try without");
}

// Paths for people; what tells runs apart is what is in the pictures.
void add_images(const Recipe& r, Json& json) {
  json["image"] = r.image_path;
  json["image_digest"] = picture_digest(*r.image);
  if (!r.last_image) return;
  json["last_image"] = r.last_image_path;
  json["last_image_digest"] = picture_digest(*r.last_image);
}

// The profile decides about steps, solver and shift: its values stand in an object of their own.
void add_causal(const Recipe& r, Json& json) {
  for (const char* key : {"steps", "solver", "shift", "sigma_table"}) json.erase(key);
  const CausalProfile profile = find_profile(r.causal);
  json["causal"] = r.causal;
  json["prompt_change"] = prompt_change_name(r.prompt_change);
  json["sink_rope"] = sink_rope_name(r.sink_rope);
  for (const PromptAt& change : r.prompts_at)
    json["prompt_at"].push_back(number(change.seconds) + "s:" + change.prompt);
  json["causal_profile"] = {{"first_chunk", profile.first_chunk},
                            {"chunk", profile.chunk},
                            {"sampler", sampler_name(profile.sampler)},
                            {"timesteps", profile.timesteps},
                            {"context_timestep", profile.context_timestep},
                            {"window", r.causal_window.frames},
                            {"sinks", r.causal_window.sinks},
                            {"int8", r.causal_window.int8}};
}

}  // namespace

Recipe resolve_recipe(const Request& request, const Model& model) {
  require_runnable(model);
  const auto list_length = request.t_list.empty() ? request.steps : std::optional<int64_t>();
  const Settings s =
      overlay(settings_of(request), settings_below(request.preset, model, list_length));
  Recipe r;
  r.prompt = request.prompt;
  r.negative_prompt = s.negative_prompt.value();
  r.width = s.width.value();
  r.height = s.height.value();
  r.fps = s.fps.value();
  require_range("frame rate", "--fps", r.fps, 0.01, 1000);
  T2V_REQUIRE(!(request.frames && request.seconds), ErrorKind::kUsage,
              "--frames and --seconds both given; try one of them");
  r.frames = request.seconds ? frames_for_seconds(*request.seconds, r.fps, model.geometry_rules())
                             : s.frames.value();
  resolve_image(request, model, r);
  make_geometry(r.width, r.height, r.frames, model.geometry_rules());
  resolve_steps(request, s, r);
  r.guidance_scale = {.high_noise = s.guidance_scale_high.value(),
                      .low_noise = s.guidance_scale_low.value()};
  require_range("guidance scale", "--guidance-scale, --guidance-scale-high",
                r.guidance_scale.high_noise, 0, 100);
  require_range("guidance scale", "--guidance-scale, --guidance-scale-low",
                r.guidance_scale.low_noise, 0, 100);
  if (model.two_experts()) {
    r.boundary = s.boundary.value_or(0.875);
    require_range("boundary", "--boundary", *r.boundary, 0, 1);
  } else {
    T2V_REQUIRE(!request.boundary, ErrorKind::kUsage,
                "--boundary given, but this model has one transformer; try without");
    if (request.guidance_scale_high && request.guidance_scale_low)
      T2V_REQUIRE(*request.guidance_scale_high == *request.guidance_scale_low, ErrorKind::kUsage,
                  "--guidance-scale-high ", *request.guidance_scale_high,
                  " and --guidance-scale-low ", *request.guidance_scale_low,
                  " differ, but this model has one transformer; try --guidance-scale");
    const auto only =
        request.guidance_scale_low ? request.guidance_scale_low : request.guidance_scale_high;
    if (only) r.guidance_scale = {*only, *only};
  }
  r.seed = s.seed ? *s.seed : random_seed();
  r.latents_path = request.latents_path;
  r.preset = request.preset;
  r.text_len = model.text_len;
  resolve_causal(request, model, r);
  check_image(r);
  if (!r.causal.empty()) {
    T2V_REQUIRE(request.t_list.empty(), ErrorKind::kUsage, "--t-list: the causal profile '",
                r.causal, "' has its own timesteps (--causal); try a profile of your own");
    r.t_list.clear();
  }
  resolve_step_cache(request, model, r);
  return r;
}

std::string recipe_to_json(const Recipe& r, const Model& model, const EngineOptions& options,
                           const std::string& dtype) {
  Json json = {
      {"t2v", kVersion},
      {"model", model.variant.name},
      {"prompt", r.prompt},
      {"negative_prompt", r.negative_prompt},
      {"size", core::str(r.width, "x", r.height)},
      {"frames", r.frames},
      {"fps", r.fps},
      {"steps", r.steps},
      {"solver", solver_name(r.solver)},
      {"shift", r.shift},
      {"sigma_table", sigma_table_name(r.sigma_table)},
      {"guidance_scale_high", r.guidance_scale.high_noise},
      {"guidance_scale_low", r.guidance_scale.low_noise},
      {"seed", r.seed},
      {"preset", r.preset},
      {"dtype", dtype},
  };
  if (options.quant != Quant::kNone && options.quant != Quant::kAuto) {
    json["quant"] = quant_name(options.quant);
    if (options.quant == Quant::kInt8) json["int8_rotate"] = options.int8_rotation;
    if (options.quant_preset == QuantPreset::kQuality) json["quant_preset"] = "quality";
  }
  if (options.attention != "auto") json["attention"] = options.attention;
  if (r.boundary) json["boundary"] = *r.boundary;
  if (!r.t_list.empty()) {
    json["t_list"] = list_text(r.t_list);
    for (const char* key : {"shift", "sigma_table"}) json.erase(key);
  }
  if (r.step_cache.policy != StepCachePolicy::kOff)
    json["step_cache"] = step_cache_text(r.step_cache, model);
  if (const std::string digest = step_cache_digest(r, model); !digest.empty())
    json["step_cache_table"] = digest;
  if (!r.latents_path.empty()) json["latents"] = r.latents_path;
  if (r.image) add_images(r, json);
  if (!r.causal.empty()) add_causal(r, json);
  add_files(options, json);
  for (const auto& [component, hash] : model_hashes(model)) json["model_files"][component] = hash;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace t2v::pipeline
