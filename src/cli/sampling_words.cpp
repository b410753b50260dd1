#include "cli/sampling_words.h"

#include <algorithm>

#include "cli/numbers.h"
#include "cli/report.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

constexpr double kMaxThreshold = 100;

// Takes off what stands before the next separator.
std::string_view next_part(std::string_view& rest, char separator) {
  const size_t end = std::min(rest.find(separator), rest.size());
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return part;
}

}  // namespace

std::optional<std::vector<double>> parse_t_list(std::string_view text, std::string& why) {
  std::vector<double> timesteps;
  why = "is not a list of falling numbers from 1000 to 0 such as 1000,937.5,833.3,625";
  const bool is_open = text.empty() || text.back() == ',';
  while (!text.empty()) {
    const auto value = parse_finite(next_part(text, ','));
    if (!value || *value < 0 || *value > 1000) return std::nullopt;
    if (!timesteps.empty() && *value >= timesteps.back()) return std::nullopt;
    timesteps.push_back(*value);
  }
  if (is_open || timesteps.front() == 0) return std::nullopt;
  return timesteps;
}

std::string t_list_text(const std::vector<double>& timesteps) {
  std::string text;
  for (const double value : timesteps) text += (text.empty() ? "" : ",") + number_text(value);
  return text;
}

std::optional<StepCacheOptions> parse_step_cache(std::string_view text, std::string& why) {
  why =
      "is not off, easy, easy:THRESHOLD, mag, mag:THRESHOLD or mag:FILE, thresholds from 0 to 100";
  StepCacheOptions options;
  std::string_view rest = text;
  const std::string_view policy = next_part(rest, ':');
  if (policy == "off") return text == "off" ? std::optional(options) : std::nullopt;
  if (policy != "easy" && policy != "mag") return std::nullopt;
  options.policy = policy == "easy" ? StepCachePolicy::kEasy : StepCachePolicy::kMag;
  if (policy == text) return options;
  std::string_view behind = rest;
  const auto threshold = parse_finite(next_part(behind, ':'));
  if (threshold) {
    if (*threshold < 0 || *threshold > kMaxThreshold) return std::nullopt;
    if (*threshold == 0) return StepCacheOptions{};
    options.threshold = *threshold;
    rest = behind;
    if (rest.empty()) return text.back() == ':' ? std::nullopt : std::optional(options);
  }
  if (rest.empty() || options.policy == StepCachePolicy::kEasy) return std::nullopt;
  options.table_path = rest;
  return options;
}

std::string step_cache_text(const StepCacheOptions& options) {
  std::string text = step_cache_name(options.policy);
  if (options.policy == StepCachePolicy::kOff) return text;
  if (options.threshold > 0) text += ":" + number_text(options.threshold);
  return options.table_path.empty() ? text : text + ":" + options.table_path;
}

}  // namespace t2v::cli
