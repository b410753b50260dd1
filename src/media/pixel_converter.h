// RGB pictures to the encoder's planes: BT.709, limited or full range, exact rounding.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace t2v::media {

// Where one component of a pixel lies in memory.
struct Component {
  int plane = 0;
  int step_bytes = 1;  // from one pixel to the next
  int offset_bytes = 0;
  int shift = 0;  // bits below the value (P010: 6)
};

// R, G, B (A) or Y, Cb, Cr (A). Samples of more than 8 bits are little-endian 16-bit words.
struct PixelLayout {
  bool rgb = false;
  bool full_range = false;
  bool alpha = false;          // filled with opaque
  int depth = 8;               // bits, 8..12
  int log2_chroma_width = 0;   // 0 or 1
  int log2_chroma_height = 0;  // 0 or 1
  std::array<Component, 4> components{};
};

struct Planes {
  std::array<uint8_t*, 4> first{};
  std::array<ptrdiff_t, 4> stride_bytes{};
};

// Planar 8-bit Y, Cb, Cr in limited range: chroma shifts (1, 1) = 4:2:0, (1, 0) = 4:2:2, (0, 0) =
// 4:4:4.
PixelLayout planar_yuv_layout(int log2_chroma_width, int log2_chroma_height);

// Chroma is sited as in MPEG-2 and H.264 by default: horizontally on the left pixel ([1 2 1]/4),
// vertically between two rows ([1 1]/2); edges are repeated, so odd sizes need no padding.
class PixelConverter {
 public:
  PixelConverter(const PixelLayout& layout, int width, int height);

  // rgb: height x width x 3 bytes, tightly packed.
  void convert(const uint8_t* rgb, const Planes& planes);

 private:
  struct Weights {
    int32_t r = 0, g = 0, b = 0, offset = 0;
  };
  void convert_rgb(const uint8_t* rgb, const Planes& planes);
  void convert_luma(const uint8_t* rgb, const Planes& planes);
  void convert_chroma(const uint8_t* rgb, const Planes& planes, int component,
                      const Weights& weights);
  void fill_alpha(const Planes& planes);
  void store_row(const Planes& planes, int component, int y, int count) const;

  PixelLayout layout_;
  int width_;
  int height_;
  Weights luma_, cb_, cr_;     // 16 fraction bits
  std::vector<int32_t> sums_;  // one chroma row, summed over its pixel rows
  std::vector<uint16_t> row_;  // one finished row
};

}  // namespace t2v::media
