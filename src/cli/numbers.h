// Strict readers of numbers: the whole text must be one finite number, nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace t2v::cli {

struct Size {
  int64_t width = 0;   // px
  int64_t height = 0;  // px
};

// Decimal digits with an optional minus; empty when the text is anything else or out of range.
std::optional<int64_t> parse_int64(std::string_view text);

// Decimal digits only, 0 ... 2^64-1.
std::optional<uint64_t> parse_uint64(std::string_view text);

// Decimal or scientific notation; nan, inf and values beyond a double are refused.
std::optional<double> parse_finite(std::string_view text);

// "1280x720", "1280*720", "480p" (832x480), "720p" (1280x720); both sides at least 1.
std::optional<Size> parse_size(std::string_view text);

// "12GiB", "12G" (= GiB), "12GB" (10^9), "1.5TiB", "500MiB", "8000000000" (bytes); letters of any
// case; at least 1 byte and below 2^63.
std::optional<int64_t> parse_bytes(std::string_view text);

}  // namespace t2v::cli
