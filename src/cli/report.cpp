#include "cli/report.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "cli/prompt_at.h"
#include "cli/sampling_words.h"
#include "core/check.h"
#include "core/escape.h"
#include "t2v/version.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;

// Bare where the config reader takes it as it is.
std::string config_value(const std::string& value) {
  const bool bare =
      !value.empty() && std::all_of(value.begin(), value.end(), [](unsigned char letter) {
        return letter > ' ' && letter != '"' && letter != '\'' && letter != '\\' && letter != '#' &&
               letter < 0x7f;
      });
  if (bare) return value;
  std::string out = "\"";
  for (const char letter : value) {
    switch (letter) {
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      default:
        out += letter;
    }
  }
  return out + "\"";
}

}  // namespace

std::string number_text(double value) {
  char text[64];
  const auto result = std::to_chars(text, text + sizeof text, value);
  return {text, result.ptr};
}

std::string done_json(const Report& report, const std::string& output) {
  const Json json = {{"event", "done"},
                     {"output", output},
                     {"seed", report.recipe.seed},
                     {"total_ms", report.total_ms},
                     {"host_peak", report.host_peak_bytes},
                     {"device_peak", report.device_peak_bytes}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

ResolvedSettings recipe_settings(const Recipe& recipe) {
  ResolvedSettings settings = {
      {"prompt", recipe.prompt},
      {"negative-prompt", recipe.negative_prompt},
      {"size", str(recipe.width, "x", recipe.height)},
      {"frames", str(recipe.frames)},
      {"fps", number_text(recipe.fps)},
  };
  if (recipe.causal.empty()) {
    settings.emplace_back("steps", str(recipe.steps));
    settings.emplace_back("solver", solver_name(recipe.solver));
    if (recipe.t_list.empty()) {
      settings.emplace_back("shift", number_text(recipe.shift));
      settings.emplace_back("sigma-table", sigma_table_name(recipe.sigma_table));
    } else {
      settings.emplace_back("t-list", t_list_text(recipe.t_list));
    }
    settings.emplace_back("step-cache", step_cache_text(recipe.step_cache));
  } else {  // the profile decides about these
    settings.emplace_back("causal", recipe.causal);
    settings.emplace_back("prompt-change", prompt_change_name(recipe.prompt_change));
    settings.emplace_back("sink-rope", sink_rope_name(recipe.sink_rope));
    for (const PromptAt& change : recipe.prompts_at)
      settings.emplace_back("prompt-at", prompt_at_text(change));
  }
  settings.emplace_back("guidance-scale-high", number_text(recipe.guidance_scale.high_noise));
  settings.emplace_back("guidance-scale-low", number_text(recipe.guidance_scale.low_noise));
  if (recipe.boundary) settings.emplace_back("boundary", number_text(*recipe.boundary));
  settings.emplace_back("seed", str(recipe.seed));
  if (!recipe.latents_path.empty()) settings.emplace_back("latents", recipe.latents_path);
  if (!recipe.image_path.empty()) settings.emplace_back("image", recipe.image_path);
  if (!recipe.last_image_path.empty()) settings.emplace_back("last-image", recipe.last_image_path);
  settings.emplace_back("preset", recipe.preset);
  return settings;
}

std::string settings_text(const ResolvedSettings& settings, const std::string& indent) {
  std::string text;
  for (const auto& [name, value] : settings)
    text += str(indent, name, " = ", config_value(value), "\n");
  return text;
}

}  // namespace t2v::cli
