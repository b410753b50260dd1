#include "cli/numbers.h"

#include <charconv>
#include <cmath>
#include <system_error>

namespace t2v::cli {
namespace {

template <typename Number>
std::optional<Number> parse_whole(std::string_view text) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

std::optional<Size> parse_sides(std::string_view width_text, std::string_view height_text) {
  const auto width = parse_whole<uint32_t>(width_text);
  const auto height = parse_whole<uint32_t>(height_text);
  if (!width || !height || *width == 0 || *height == 0) return std::nullopt;
  return Size{.width = *width, .height = *height};
}

}  // namespace

std::optional<int64_t> parse_int64(std::string_view text) { return parse_whole<int64_t>(text); }

std::optional<uint64_t> parse_uint64(std::string_view text) { return parse_whole<uint64_t>(text); }

std::optional<double> parse_finite(std::string_view text) {
  const auto value = parse_whole<double>(text);
  if (!value || !std::isfinite(*value)) return std::nullopt;
  return value;
}

std::optional<Size> parse_size(std::string_view text) {
  if (text == "480p") return Size{.width = 832, .height = 480};
  if (text == "720p") return Size{.width = 1280, .height = 720};
  for (const std::string_view separator : {"x", "X", "*", "\xc3\x97"}) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) continue;
    return parse_sides(text.substr(0, at), text.substr(at + separator.size()));
  }
  return std::nullopt;
}

}  // namespace t2v::cli
