// At most 255 colours for a whole clip, and which of them is nearest to a pixel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace t2v::media {

using Rgb = std::array<uint8_t, 3>;

// Counts colours of any number of frames and then picks the palette: exactly the colours that occur
// where they are few, else the means of boxes cut at the variance (median cut's better sibling).
class GifPalette {
 public:
  static constexpr size_t kMaxColours = 255;  // of 256: one index means "unchanged"

  GifPalette();
  void count(const uint8_t* rgb, int64_t num_pixels);
  // Fixes the palette.
  void choose();
  [[nodiscard]] const std::vector<Rgb>& colours() const noexcept { return colours_; }
  // Nearest by squared distance, the lower index on a tie. After choose().
  uint8_t nearest(const uint8_t* rgb);

 private:
  struct Cell {  // colours that share their upper 6 bits per channel
    int64_t pixels = 0;
    std::array<int64_t, 3> sums{};
  };
  struct Box;
  void cut();

  std::vector<Cell> cells_;
  std::vector<uint32_t> exact_;  // distinct colours while there are at most kMaxColours
  bool few_colours_ = true;
  uint32_t last_ = 0xffffffff;
  std::vector<Rgb> colours_;
  std::vector<uint32_t> cache_keys_;  // colour + 1; 0 = empty
  std::vector<uint8_t> cache_values_;
};

}  // namespace t2v::media
