// Loops of the VAE's norm over one row of pixels, compiled for several instruction sets and chosen
// at start-up.
#pragma once

#include <cstdint>

namespace t2v::ops::row {

// uint16_t stands for bf16.
template <typename T>
struct PixelRows {
  const T* from;
  int64_t from_stride;  // elements from pixel to pixel
  T* to;
  int64_t to_stride;
};

struct PixelNorm {
  int64_t count;  // of pixels
  int64_t channels;
  const float* factors;  // gamma * sqrt(channels)
  float* pixel;          // room for one pixel
};

// y = x / max(|x|, 1e-12) * factors, for each pixel
template <typename T>
void normalise_pixels(const PixelRows<T>& rows, const PixelNorm& norm);
// SiLU of that
template <typename T>
void normalise_pixels_silu(const PixelRows<T>& rows, const PixelNorm& norm);

}  // namespace t2v::ops::row
