#include "cli/numbers.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
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

// Bytes of a unit in lower case; 0 = unknown.
int64_t bytes_of_unit(std::string_view unit) {
  if (unit.empty() || unit == "b") return 1;
  const size_t power = std::string_view("kmgt").find(unit[0]) + 1;
  const std::string_view rest = unit.substr(1);
  if (power == 0 || !(rest.empty() || rest == "b" || rest == "ib")) return 0;
  int64_t bytes = 1;
  for (size_t i = 0; i < power; ++i) bytes *= rest == "b" ? 1000 : 1024;
  return bytes;
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

std::optional<int64_t> parse_bytes(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string unit(text.substr(digits));
  for (char& letter : unit) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  const int64_t scale = bytes_of_unit(unit);
  const auto number = parse_finite(text.substr(0, digits));
  if (scale == 0 || !number) return std::nullopt;
  if (scale == 1) {
    const auto bytes = parse_int64(text.substr(0, digits));
    return bytes && *bytes > 0 ? bytes : std::nullopt;
  }
  const double bytes = std::floor(*number * static_cast<double>(scale));
  if (bytes < 1 || bytes >= 0x1p63) return std::nullopt;
  return static_cast<int64_t>(bytes);
}

}  // namespace t2v::cli
