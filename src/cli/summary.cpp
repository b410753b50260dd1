#include "cli/summary.h"

#include <algorithm>
#include <cmath>

#include "cli/console.h"
#include "cli/report.h"
#include "core/check.h"
#include "core/escape.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr double kMsPerSecond = 1000.0;

std::string seconds_of(double ms) { return duration_text(ms / kMsPerSecond); }

std::string place_of(const std::string& output) {
  return output == "-" ? "standard output" : core::escape_control(output);
}

// "20 steps unipc, sigma table wan, shift 3, guidance high 4, low 3, boundary 0.875, seed 42".
std::string sampling_words(const Recipe& recipe) {
  const GuidanceScale& guidance = recipe.guidance_scale;
  std::string text = str(recipe.steps, " steps ", solver_name(recipe.solver));
  text += recipe.t_list.empty() ? str(", sigma table ", sigma_table_name(recipe.sigma_table),
                                      ", shift ", number_text(recipe.shift))
                                : ", timesteps as given";
  text += guidance.high_noise == guidance.low_noise
              ? str(", guidance ", number_text(guidance.high_noise))
              : str(", guidance high ", number_text(guidance.high_noise), ", low ",
                    number_text(guidance.low_noise));
  if (recipe.boundary) text += ", boundary " + number_text(*recipe.boundary);
  if (!recipe.preset.empty()) text += ", preset " + recipe.preset;
  return text + str(", seed ", recipe.seed);
}

// What was not as usual; "" = nothing.
std::string deviations(const Report& report) {
  std::string text;
  if (report.resumed_steps > 0)
    text += str("t2v: went on behind step ", report.resumed_steps, " of an earlier run\n");
  if (!report.step_cache.mask.empty()) {
    const auto& mask = report.step_cache.mask;
    text += str("t2v: step cache: ", std::count(mask.begin(), mask.end(), '0'), " of ", mask.size(),
                " steps predicted\n");
  }
  if (report.together > 1)
    text += str("t2v: ", report.together, " videos took their steps together\n");
  if (!report.retried.empty())
    text += str("t2v: made once more: ", core::escape_control(report.retried), "\n");
  return text;
}

}  // namespace

std::string memory_words(const Report& report) {
  std::string words = bytes_text(report.host_peak_bytes);
  if (report.device_peak_bytes > 0)
    words += str(", ", bytes_text(report.device_peak_bytes), " on the device");
  return words;
}

std::string summary_text(const Report& report, const std::string& output,
                         const std::string& asked) {
  const Recipe& recipe = report.recipe;
  std::string text;
  if (!asked.empty()) text += str("t2v: asked for ", core::escape_control(asked), "\n");
  if (!report.model.empty()) text += str("t2v: ", report.model, " on ", report.device, "\n");
  text += str("t2v: ", recipe.width, "x", recipe.height, ", ", recipe.frames, " frames");
  if (recipe.fps > 0) text += str(", ", number_text(recipe.fps), " fps");
  if (recipe.steps > 0) text += ", " + sampling_words(recipe);
  text += "\n" + deviations(report) + "t2v: ";
  for (const StageTime& stage : report.stages)
    text += str(stage_words(stage.stage), " ", seconds_of(stage.wall_ms), ", ");
  text += str("total ", seconds_of(report.total_ms));
  if (report.weights.bytes > 0) {
    text += str("; weights ", bytes_text(report.weights.bytes), " at ",
                number_text(std::round(report.weights.gb_per_s * 100) / 100), " GB/s");
  }
  if (report.host_peak_bytes > 0) text += str("; peak memory ", memory_words(report));
  return text + str("\nt2v: wrote ", place_of(output), "\n");
}

std::string done_line(const std::string& title, const Report& report, const std::string& output) {
  std::string text = str("t2v: ", title, " done in ", seconds_of(report.total_ms));
  if (report.together > 1) text += str(" together with ", report.together - 1, " more");
  if (report.resumed_steps > 0) text += str(" from step ", report.resumed_steps, " on");
  if (!report.retried.empty()) text += " (made once more)";
  return text + str(", seed ", report.recipe.seed, ": ", place_of(output), "\n");
}

}  // namespace t2v::cli
