// The shortcuts around the up and down blocks of VAE 2.2, which have no weights, and its patches of
// pixels. Videos are [T, H, W, C].
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace t2v::models::vae {

// How far a block changes the size: 1 or 2 each.
struct SizeFactors {
  int64_t time = 1;
  int64_t space = 1;
};

// Channels and pixels fall together into means: channels of one pixel, ordered as (channel, frame,
// row, column) of the large video, make groups of equal length. Frames of zeros come before x where
// its number does not suit. Sums in fp32.
at::Tensor average_down(const at::Tensor& x, const SizeFactors& factors, int64_t out_channels);

// out += the channels of x spread over the pixels of the larger video: the inverse of the order
// above. first_chunk: of a frame that becomes two, only the second is there.
class DuplicateUp {
 public:
  DuplicateUp(int64_t in_channels, int64_t out_channels, const SizeFactors& factors,
              at::Device device);
  void add_to(const at::Tensor& out, const at::Tensor& x, bool first_chunk) const;

 private:
  SizeFactors factors_;
  std::vector<at::Tensor> sources_;  // by (frame, row, column): out's channels -> x's
};

// Squares of patch x patch pixels become channels: (colour, column, row). frames [T, H, W, 3].
at::Tensor pack_pixels(const at::Tensor& frames, int64_t patch);
at::Tensor unpack_pixels(const at::Tensor& packed, int64_t patch);

}  // namespace t2v::models::vae
