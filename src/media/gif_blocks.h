// The byte level of GIF89a: blocks, LZW, and a walk over an existing file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "media/gif_palette.h"

namespace t2v::media {

// Part of a picture that a frame replaces, in pixels.
struct GifArea {
  int x = 0, y = 0, width = 0, height = 0;
};

// Header, global palette of 256 entries, endless loop, comment.
std::string gif_start(int width, int height, const std::vector<Rgb>& colours,
                      const std::string& comment);
// indices: area.width x area.height palette entries; delay_cs: hundredths of a second.
std::string gif_frame(const GifArea& area, const std::vector<uint8_t>& indices, int delay_cs,
                      int transparent);
std::string gif_end();

struct GifSummary {
  int64_t width = 0;
  int64_t height = 0;
  int64_t frames = 0;
  int64_t duration_cs = 0;
  std::string comment;  // the first one that starts with the prefix, without it
};

inline constexpr std::string_view kGifCommentPrefix = "t2v:";

[[nodiscard]] bool is_gif(const std::string& bytes) noexcept;

// Throws Error{kInput} naming `path` when the bytes are not a whole GIF.
GifSummary read_gif(const std::string& bytes, const std::string& path);

}  // namespace t2v::media
