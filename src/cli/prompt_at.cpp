#include "cli/prompt_at.h"

#include "cli/numbers.h"
#include "cli/report.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

std::optional<double> parse_seconds(std::string_view text) {
  if (text.ends_with('s')) text.remove_suffix(1);
  const auto seconds = parse_finite(text);
  return seconds && *seconds >= 0 ? seconds : std::nullopt;
}

}  // namespace

std::optional<PromptAt> parse_prompt_at(std::string_view text, std::string& why) {
  const size_t colon = text.find(':');
  auto seconds =
      colon == std::string_view::npos ? std::nullopt : parse_seconds(text.substr(0, colon));
  if (!seconds) {
    why = "has no time in front, expected TIME:TEXT such as 5s:a blue square";
    return std::nullopt;
  }
  std::string_view rest = text.substr(colon + 1);
  // "1:30:TEXT": only when both are plain whole numbers, so that "5:30 red squares" stays a text.
  const size_t second = rest.find(':');
  const auto minutes = parse_int64(text.substr(0, colon));
  const auto part = second == 2 ? parse_int64(rest.substr(0, 2)) : std::nullopt;
  if (minutes && part && *part >= 0 && *part < 60) {
    seconds = static_cast<double>(*minutes * 60 + *part);
    rest = rest.substr(3);
  }
  if (rest.find_first_not_of(" \t") == std::string_view::npos) {
    why = "has no text behind the time, expected TIME:TEXT such as 5s:a blue square";
    return std::nullopt;
  }
  return PromptAt{.seconds = *seconds, .prompt = std::string(rest)};
}

std::string prompt_at_text(const PromptAt& change) {
  return core::str(number_text(change.seconds), "s:", change.prompt);
}

}  // namespace t2v::cli
