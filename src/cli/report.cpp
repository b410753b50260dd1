#include "cli/report.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "cli/console.h"
#include "cli/prompt_at.h"
#include "core/check.h"
#include "core/escape.h"
#include "t2v/version.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;

constexpr double kMsPerSecond = 1000.0;
constexpr double kBytesPerMiB = 1024.0 * 1024.0;

std::string mebibytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f MiB", static_cast<double>(bytes) / kBytesPerMiB);
  return text;
}

// "228 MiB", with a GPU "1200 MiB, 30000 MiB on the device".
std::string memory_words(const Report& report) {
  std::string words = mebibytes(report.host_peak_bytes);
  if (report.device_peak_bytes > 0)
    words += str(", ", mebibytes(report.device_peak_bytes), " on the device");
  return words;
}

std::string seconds_of(double ms) { return duration_text(ms / kMsPerSecond); }

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

// Reading of weights in one line; "" when nothing was read.
std::string weights_line(const WeightTraffic& weights) {
  if (weights.bytes == 0) return "";
  char line[200];
  std::snprintf(line, sizeof line,
                "weights %s at %.2f GB/s, stalled %.1f ms, expert switch %.1f ms, %lld blocks "
                "streamed\n",
                bytes_text(weights.bytes).c_str(), weights.gb_per_s, weights.stall_ms,
                weights.expert_switch_ms, static_cast<long long>(weights.streamed_blocks));
  return line;
}

// What was made once for all steps and videos; "" when nothing was.
std::string conditions_line(const ConditionUse& use) {
  if (use.key_hits + use.key_misses == 0) return "";
  char line[240];
  std::snprintf(line, sizeof line,
                "prompts: %lld of %lld texts and %lld of %lld key sets at hand, made in %.1f ms, "
                "saved %.1f ms and %s of weights, %s kept\n",
                static_cast<long long>(use.text_hits),
                static_cast<long long>(use.text_hits + use.text_misses),
                static_cast<long long>(use.key_hits),
                static_cast<long long>(use.key_hits + use.key_misses), use.make_ms, use.saved_ms,
                bytes_text(use.bytes_not_read).c_str(), bytes_text(use.bytes).c_str());
  return line;
}

}  // namespace

std::string number_text(double value) {
  char text[64];
  const auto result = std::to_chars(text, text + sizeof text, value);
  return {text, result.ptr};
}

std::string summary_text(const Report& report, const std::string& output) {
  const Recipe& recipe = report.recipe;
  std::string guidance = number_text(recipe.guidance_scale.high_noise);
  if (recipe.guidance_scale.low_noise != recipe.guidance_scale.high_noise) {
    guidance += str("/", number_text(recipe.guidance_scale.low_noise));
  }
  std::string text;
  if (!report.model.empty()) text += str("t2v: ", report.model, " on ", report.device, "\n");
  text += str("t2v: ", recipe.width, "x", recipe.height, ", ", recipe.frames, " frames, ",
              number_text(recipe.fps), " fps");
  if (recipe.steps > 0) {
    text += str(", ", recipe.steps, " steps ", solver_name(recipe.solver), ", sigma table ",
                sigma_table_name(recipe.sigma_table), ", shift ", number_text(recipe.shift),
                ", guidance ", guidance,
                recipe.boundary ? str(", boundary ", number_text(*recipe.boundary)) : "", ", seed ",
                recipe.seed);
  }
  text += "\nt2v: ";
  for (const StageTime& stage : report.stages) {
    text += str(stage_words(stage.stage), " ", seconds_of(stage.wall_ms), ", ");
  }
  text += str("total ", seconds_of(report.total_ms));
  if (report.weights.bytes > 0) {
    text += str("; weights ", bytes_text(report.weights.bytes), " at ",
                number_text(std::round(report.weights.gb_per_s * 100) / 100), " GB/s");
  }
  if (report.host_peak_bytes > 0) text += str("; peak memory ", memory_words(report));
  text +=
      str("\nt2v: wrote ", output == "-" ? "standard output" : core::escape_control(output), "\n");
  return text;
}

std::string profile_table(const Report& report) {
  char line[160];
  std::string text = "stage                  start ms     wall ms    read MiB\n";
  for (const StageTime& stage : report.stages) {
    std::snprintf(line, sizeof line, "%-20s %10.1f  %10.1f  %10.1f\n", stage_name(stage.stage),
                  stage.start_ms, stage.wall_ms,
                  static_cast<double>(stage.bytes_read) / kBytesPerMiB);
    text += line;
  }
  if (!report.steps.empty()) text += "step  expert        timestep     wall ms\n";
  for (const StepTime& step : report.steps) {
    std::snprintf(line, sizeof line, "%4lld  %-12.12s  %8lld  %10.1f\n",
                  static_cast<long long>(step.index),
                  step.expert.empty() ? "-" : step.expert.c_str(),
                  static_cast<long long>(step.timestep), step.wall_ms);
    text += line;
  }
  std::snprintf(line, sizeof line, "first step %.1f ms, total %.1f ms, peak memory %s\n",
                report.first_step_ms, report.total_ms, memory_words(report).c_str());
  return text + weights_line(report.weights) + conditions_line(report.conditions) + line;
}

std::string profile_json(const Report& report, const std::string& request_json) {
  Json request = Json::parse(request_json, nullptr, /*allow_exceptions=*/false);
  if (request.is_discarded()) request = nullptr;
  Json stages = Json::array();
  for (const StageTime& stage : report.stages) {
    stages.push_back({{"name", stage_name(stage.stage)},
                      {"start_ms", stage.start_ms},
                      {"wall_ms", stage.wall_ms},
                      {"bytes_read", stage.bytes_read}});
  }
  Json steps = Json::array();
  for (const StepTime& step : report.steps) {
    steps.push_back({{"index", step.index},
                     {"expert", step.expert},
                     {"timestep", step.timestep},
                     {"wall_ms", step.wall_ms}});
  }
  const Json json = {
      {"t2v", kVersion},
      {"device", report.device},
      {"model", report.model},
      {"request", request},
      {"stages", stages},
      {"steps", steps},
      {"weights",
       {{"bytes", report.weights.bytes},
        {"gb_per_s", report.weights.gb_per_s},
        {"stall_ms", report.weights.stall_ms},
        {"expert_switch_ms", report.weights.expert_switch_ms},
        {"streamed_blocks", report.weights.streamed_blocks}}},
      {"condition_cache",
       {{"text_hits", report.conditions.text_hits},
        {"text_misses", report.conditions.text_misses},
        {"key_hits", report.conditions.key_hits},
        {"key_misses", report.conditions.key_misses},
        {"bytes", report.conditions.bytes},
        {"make_ms", report.conditions.make_ms},
        {"saved_ms", report.conditions.saved_ms},
        {"bytes_not_read", report.conditions.bytes_not_read}}},
      {"memory",
       {{"device_peak", report.device_peak_bytes}, {"host_peak", report.host_peak_bytes}}},
      {"first_step_ms", report.first_step_ms},
      {"total_ms", report.total_ms}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string join_profiles(const std::vector<std::string>& profiles) {
  if (profiles.size() == 1) return profiles.front() + "\n";
  std::string text = "[";
  for (size_t i = 0; i < profiles.size(); ++i) text += (i > 0 ? ",\n" : "") + profiles[i];
  return text + "]\n";
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
    settings.emplace_back("shift", number_text(recipe.shift));
    settings.emplace_back("sigma-table", sigma_table_name(recipe.sigma_table));
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
