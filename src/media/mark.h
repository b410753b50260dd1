// What --watermark shows: a text or a PNG as a small picture with transparency, and where it goes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace t2v::media {

// Straight alpha.
struct Mark {
  int width = 0;              // px
  int height = 0;             // px
  int x = 0;                  // of its left edge in the frame
  int y = 0;                  // of its upper edge
  std::vector<uint8_t> rgba;  // height x width x 4
};

// A path by its suffix, else a text.
[[nodiscard]] bool is_mark_picture(const std::string& watermark) noexcept;

// Checks all that can be known without a size. Throws Error{kUsage} for a text with letters that
// the font does not have, Error{kInput} for a PNG that cannot be read.
void check_mark(const std::string& watermark);

// For frames of this size, in the lower right corner. Throws also Error{kUsage} when it does not
// fit.
Mark make_mark(const std::string& watermark, int64_t frame_width, int64_t frame_height);

// Lays it over a frame: rgb, frame_width x ... x 3.
void blend_mark(const Mark& mark, uint8_t* rgb, int64_t frame_width);

// 8-bit picture of a PNG file of any kind; x and y are 0. Throws Error{kInput}.
Mark read_mark_picture(const std::string& path);

}  // namespace t2v::media
