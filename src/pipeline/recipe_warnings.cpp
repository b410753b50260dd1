// What a run says about its recipe before anything else (presets.h).
#include <algorithm>

#include "core/check.h"
#include "pipeline/loras.h"
#include "pipeline/presets.h"
#include "pipeline/step_cache_plan.h"

namespace t2v::pipeline {
namespace {

// Flags with their values: only those that a source of settings has.
ResolvedSettings values_of(const Settings& s) {
  ResolvedSettings values;
  const auto add = [&](const char* flag, const auto& value, const auto& text) {
    if (value) values.emplace_back(flag, text(*value));
  };
  const auto as_is = [](int64_t value) { return core::str(value); };
  if (s.width && s.height) values.emplace_back("size", core::str(*s.width, "x", *s.height));
  add("frames", s.frames, as_is);
  add("fps", s.fps, number_text);
  add("steps", s.steps, as_is);
  add("solver", s.solver, solver_name);
  if (!s.t_list) {
    add("shift", s.shift, number_text);
    add("sigma-table", s.sigma_table, sigma_table_name);
  }
  add("guidance-scale-high", s.guidance_scale_high, number_text);
  add("guidance-scale-low", s.guidance_scale_low, number_text);
  add("boundary", s.boundary, number_text);
  return values;
}

Settings settings_of(const Recipe& r) {
  Settings s;
  s.width = r.width;
  s.height = r.height;
  s.frames = r.frames;
  s.fps = r.fps;
  s.steps = r.steps;
  s.solver = r.solver;
  s.sigma_table = r.sigma_table;
  s.shift = r.shift;
  s.guidance_scale_high = r.guidance_scale.high_noise;
  s.guidance_scale_low = r.guidance_scale.low_noise;
  s.boundary = r.boundary;
  if (!r.t_list.empty()) s.t_list = r.t_list;
  return s;
}

// "steps 20 (30), shift 3 (5)": what `used` has from `winner` and `loser` has otherwise.
std::string differences(const ResolvedSettings& used, const ResolvedSettings& winner,
                        const ResolvedSettings& loser) {
  const auto find = [](const ResolvedSettings& settings, const std::string& flag) {
    const auto found = std::find_if(settings.begin(), settings.end(),
                                    [&](const auto& setting) { return setting.first == flag; });
    return found == settings.end() ? std::string() : found->second;
  };
  std::string text;
  for (const auto& [flag, value] : used) {
    const std::string other = find(loser, flag);
    if (find(winner, flag) != value || other.empty() || other == value) continue;
    text += core::str(text.empty() ? "" : ", ", flag, " ", value, " (", other, ")");
  }
  return text;
}

// One line at most: the files of the model have other values than the preset, or than this model
// was published with.
std::string folder_line(const Recipe& r, const Model& model) {
  const ResolvedSettings used = values_of(settings_of(r));
  const ResolvedSettings folder = values_of(model.own_settings);
  const ResolvedSettings preset = values_of(preset_settings(r.preset, model));
  if (const std::string other = differences(used, preset, folder); !other.empty())
    return core::str("preset '", r.preset,
                     "' is used where the model's t2v.json says otherwise: ", other);
  if (r.preset != "official" || model.variant.published.empty()) return "";
  const ResolvedSettings table = values_of(model.variant.defaults);
  if (const std::string other = differences(used, folder, table); !other.empty())
    return core::str("the model's t2v.json says otherwise than ", model.variant.published,
                     " was published with: ", other);
  if (model.own_settings.shift || !model.flow_shift || !r.t_list.empty() ||
      r.shift != model.variant.defaults.shift || *model.flow_shift == r.shift)
    return "";
  return core::str("the model's scheduler file says shift ", number_text(*model.flow_shift), "; ",
                   number_text(r.shift), " is used, as ", model.variant.published,
                   " was published with (--shift)");
}

// Of a distilled preset: the LoRA it wants.
std::string lora_line(const Recipe& r, const Model& model, const EngineOptions& options) {
  if (preset_weights(r.preset) != PresetWeights::kLora) return "";
  bool high = false, low = false;
  for (const LoraOption& lora : options.loras) {
    const auto expert = expert_of(lora);
    high |= !model.two_experts() || expert != weights::LoraExpert::kLowNoise;
    low |= !model.two_experts() || expert != weights::LoraExpert::kHighNoise;
  }
  if (high && low) return "";
  if (!high && !low)
    return core::str("preset '", r.preset,
                     "' without a LoRA is right only for weights that it is merged into (--lora)");
  const double guidance = high ? r.guidance_scale.low_noise : r.guidance_scale.high_noise;
  if (guidance != 1) return "";  // run as it was trained, on purpose
  return core::str("preset '", r.preset, "': the ", high ? "low" : "high",
                   "-noise expert has no LoRA (--lora-", high ? "low" : "high", ")");
}

std::string guidance_line(const Recipe& r, const Model& model) {
  if (!is_distilled(r.preset)) return "";
  const GuidanceScale& g = r.guidance_scale;
  if (g.high_noise == 1 && (g.low_noise == 1 || !model.two_experts())) return "";
  return core::str(
      "preset '", r.preset, "' is for distilled weights, which want guidance 1; it is ",
      number_text(g.high_noise), model.two_experts() ? " and " + number_text(g.low_noise) : "",
      " (--guidance-scale)");
}

}  // namespace

std::vector<std::string> recipe_warnings(const Recipe& recipe, const Model& model,
                                         const EngineOptions& options) {
  if (!recipe.causal.empty()) return {};  // the profile decides
  std::vector<std::string> warnings;
  for (std::string line : {folder_line(recipe, model), lora_line(recipe, model, options),
                           guidance_line(recipe, model), step_cache_warning(recipe, model)})
    if (!line.empty()) warnings.push_back(std::move(line));
  return warnings;
}

}  // namespace t2v::pipeline
