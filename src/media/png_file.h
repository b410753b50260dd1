// PNG (ISO/IEC 15948) of 8-bit RGB with text, and reading back its size and its text.
#pragma once

#include <cstdint>
#include <string>

namespace t2v::media {

// The whole file. recipe_json: stored as international text under the keyword "t2v"; "" = none.
std::string make_png(const uint8_t* rgb, int width, int height, const std::string& recipe_json);

struct PngSummary {
  int64_t width = 0;
  int64_t height = 0;
  std::string recipe_json;
};

[[nodiscard]] bool is_png(const std::string& bytes) noexcept;

// Throws Error{kInput} naming `path` when the bytes are not a whole PNG.
PngSummary read_png(const std::string& bytes, const std::string& path);

}  // namespace t2v::media
