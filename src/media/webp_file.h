// The byte level of animated WebP: what libwebp leaves open in a file, and looking at one.
#pragma once

#include <cstdint>
#include <string>

namespace t2v::media {

struct WebpFrame {
  int64_t width = 0;   // px
  int64_t height = 0;  // px
};

// bytes: a whole file as libwebp assembles it. Lets it repeat for ever, gives the last
// picture the time that is left up to duration_ms, and stores the recipe as XMP ("" = none).
std::string finished_webp(const std::string& bytes, const WebpFrame& size, int64_t duration_ms,
                          const std::string& recipe_json);

struct WebpSummary {
  int64_t width = 0;
  int64_t height = 0;
  int64_t pictures = 0;  // frames that are alike in a row are one picture
  int64_t duration_ms = 0;
  std::string recipe_json;
};

[[nodiscard]] bool is_webp(const std::string& bytes) noexcept;

// Throws Error{kInput} naming `path` when the bytes are not a whole WebP.
WebpSummary read_webp(const std::string& bytes, const std::string& path);

}  // namespace t2v::media
