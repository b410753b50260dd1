#include "cli/profile_json.h"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/console.h"
#include "cli/summary.h"
#include "t2v/version.h"

namespace t2v::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kBytesPerMB = 1e6;
constexpr double kGiga = 1e9;
constexpr size_t kTableKernels = 12;  // the others are in the JSON

__attribute__((format(printf, 1, 2))) std::string line_of(const char* format, ...) {
  std::array<char, 256> text{};
  va_list values;
  va_start(values, format);
  std::vsnprintf(text.data(), text.size(), format, values);
  va_end(values);
  return text.data();
}

// Of what a large matrix product reaches; null where that was not measured.
Json share_of_peak(const Report& report) {
  if (report.peak_flop_per_s <= 0) return nullptr;
  return report.denoise_flop_per_s / report.peak_flop_per_s;
}

// Reading of weights in one line; "" when nothing was read.
std::string weights_line(const WeightTraffic& weights) {
  if (weights.bytes == 0) return "";
  return line_of(
      "weights %s at %.2f GB/s, stalled %.1f ms, expert switch %.1f ms, %lld blocks streamed\n",
      bytes_text(weights.bytes).c_str(), weights.gb_per_s, weights.stall_ms,
      weights.expert_switch_ms, static_cast<long long>(weights.streamed_blocks));
}

// What was made once for all steps and videos; "" when nothing was.
std::string conditions_line(const ConditionUse& use) {
  if (use.key_hits + use.key_misses == 0) return "";
  return line_of(
      "prompts: %lld of %lld texts and %lld of %lld key sets at hand, made in %.1f ms, saved "
      "%.1f ms and %s of weights, %s kept\n",
      static_cast<long long>(use.text_hits),
      static_cast<long long>(use.text_hits + use.text_misses), static_cast<long long>(use.key_hits),
      static_cast<long long>(use.key_hits + use.key_misses), use.make_ms, use.saved_ms,
      bytes_text(use.bytes_not_read).c_str(), bytes_text(use.bytes).c_str());
}

std::string kernel_rows(const Report& report) {
  if (report.kernels.empty()) return "";
  double sum = 0;
  for (const KernelTime& kernel : report.kernels) sum += kernel.device_ms;
  std::string text = "operation                   calls          ms       share    GFLOP/s\n";
  for (size_t i = 0; i < std::min(report.kernels.size(), kTableKernels); ++i) {
    const KernelTime& kernel = report.kernels[i];
    text += line_of("%-24.24s %8lld  %10.1f  %8.1f %%", kernel.name.c_str(),
                    static_cast<long long>(kernel.calls), kernel.device_ms,
                    sum > 0 ? kernel.device_ms / sum * 100 : 0);
    if (kernel.flop > 0 && kernel.device_ms > 0)
      text += line_of("  %9.1f", kernel.flop / kernel.device_ms * 1e3 / kGiga);
    text += "\n";
  }
  return text;
}

std::string flop_line(const Report& report) {
  if (report.denoise_flop_per_s <= 0) return "";
  std::string text = line_of("%.1f GFLOP, denoising at %.1f GFLOP/s", report.flop / kGiga,
                             report.denoise_flop_per_s / kGiga);
  if (report.peak_flop_per_s > 0)
    text += line_of(", %.0f %% of the %.1f GFLOP/s of a large matrix product",
                    report.denoise_flop_per_s / report.peak_flop_per_s * 100,
                    report.peak_flop_per_s / kGiga);
  return text + "\n";
}

Json stages_json(const Report& report) {
  Json stages = Json::array();
  for (const StageTime& stage : report.stages) {
    stages.push_back({{"name", stage_name(stage.stage)},
                      {"start_ms", stage.start_ms},
                      {"wall_ms", stage.wall_ms},
                      {"device_ms", stage.device_ms},
                      {"bytes_read", stage.bytes_read},
                      {"bytes_h2d", stage.bytes_h2d}});
  }
  return stages;
}

Json steps_json(const Report& report) {
  Json steps = Json::array();
  for (const StepTime& step : report.steps) {
    steps.push_back({{"index", step.index},
                     {"expert", step.expert},
                     {"timestep", step.timestep},
                     {"wall_ms", step.wall_ms},
                     {"device_ms", step.device_ms},
                     {"predicted", step.predicted}});
  }
  return steps;
}

Json kernels_json(const Report& report) {
  Json kernels = Json::array();
  for (const KernelTime& kernel : report.kernels) {
    kernels.push_back({{"name", kernel.name},
                       {"calls", kernel.calls},
                       {"device_ms", kernel.device_ms},
                       {"flop", kernel.flop}});
  }
  return kernels;
}

Json memory_json(const Report& report) {
  Json curve = Json::array();
  for (const MemoryPoint& point : report.memory)
    curve.push_back({point.ms, point.device_bytes, point.host_bytes});
  return {{"device_peak", report.device_peak_bytes},
          {"host_peak", report.host_peak_bytes},
          {"curve", std::move(curve)}};
}

Json weights_json(const WeightTraffic& weights) {
  return {{"bytes", weights.bytes},
          {"gb_per_s", weights.gb_per_s},
          {"stall_ms", weights.stall_ms},
          {"expert_switch_ms", weights.expert_switch_ms},
          {"streamed_blocks", weights.streamed_blocks}};
}

Json conditions_json(const ConditionUse& use) {
  return {{"text_hits", use.text_hits}, {"text_misses", use.text_misses},
          {"key_hits", use.key_hits},   {"key_misses", use.key_misses},
          {"bytes", use.bytes},         {"make_ms", use.make_ms},
          {"saved_ms", use.saved_ms},   {"bytes_not_read", use.bytes_not_read}};
}

}  // namespace

std::string profile_table(const Report& report) {
  std::string text = "stage                  start ms     wall ms   device ms    read MB\n";
  for (const StageTime& stage : report.stages)
    text += line_of("%-20s %10.1f  %10.1f  %10.1f  %10.1f\n", stage_name(stage.stage),
                    stage.start_ms, stage.wall_ms, stage.device_ms,
                    static_cast<double>(stage.bytes_read) / kBytesPerMB);
  if (!report.steps.empty()) text += "step  expert        timestep     wall ms   device ms\n";
  for (const StepTime& step : report.steps)
    text += line_of("%4lld  %-12.12s  %8g  %10.1f  %10.1f%s\n", static_cast<long long>(step.index),
                    step.expert.empty() ? "-" : step.expert.c_str(), step.timestep, step.wall_ms,
                    step.device_ms, step.predicted ? "  predicted" : "");
  return text + kernel_rows(report) + flop_line(report) + weights_line(report.weights) +
         conditions_line(report.conditions) +
         line_of("first step %.1f ms, total %.1f ms, peak memory %s\n", report.first_step_ms,
                 report.total_ms, memory_words(report).c_str());
}

std::string profile_json(const Report& report, const std::string& request_json) {
  Json request = Json::parse(request_json, nullptr, /*allow_exceptions=*/false);
  if (request.is_discarded()) request = nullptr;
  const Json json = {
      {"t2v", kVersion},
      {"device", report.device},
      {"model", report.model},
      {"request", request},
      {"stages", stages_json(report)},
      {"steps", steps_json(report)},
      {"weights", weights_json(report.weights)},
      {"kernels", kernels_json(report)},
      {"flop", report.flop},
      {"flop_per_s", report.denoise_flop_per_s},
      {"peak_flop_per_s", report.peak_flop_per_s},
      {"share_of_peak", share_of_peak(report)},
      {"memory", memory_json(report)},
      {"condition_cache", conditions_json(report.conditions)},
      {"step_cache",
       {{"mask", report.step_cache.mask}, {"estimated_error", report.step_cache.estimated_error}}},
      {"together", report.together},
      {"resumed_steps", report.resumed_steps},
      {"retried", report.retried},
      {"warnings", report.warnings},
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

}  // namespace t2v::cli
