// Where the tiles of a video come together.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "models/vae/tiling.h"

namespace t2v::models::vae {

class Decoder;

// Sums of weighted pixels in host memory, in whole 1/256 of an rgb8 step: 16-bit integers, so that
// the result does not depend on the order of the tiles, at 6 bytes for each pixel of the video.
class TileCanvas {
 public:
  // Pixels; all zero.
  TileCanvas(int64_t num_frames, int64_t height, int64_t width);

  struct Place {
    int64_t frame = 0, y = 0, x = 0;
    const std::vector<float>& row_weights;     // of the tile's height
    const std::vector<float>& column_weights;  // of its width
  };
  // frames [3, m, h, w] fp32 in [-1, 1], finite, on any device.
  void add(const at::Tensor& frames, const Place& place);

  // uint8 [count, H, W, 3] on the CPU.
  [[nodiscard]] at::Tensor rgb8(int64_t first, int64_t count) const;
  // The same unrounded: fp32 [3, count, H, W] in [-1, 1].
  [[nodiscard]] at::Tensor frames(int64_t first, int64_t count) const;

  static int64_t bytes(int64_t num_frames, int64_t height, int64_t width) {
    return num_frames * height * width * 3 * 2;
  }

 private:
  at::Tensor sums_;  // [F, H, W, 3], unsigned 16-bit in kShort
};

// Called for each tile's chunk before it goes to the canvas: its frames, which latent frame they
// are of, and how many of `total` chunks are done.
using TileWatcher = std::function<void(const at::Tensor& frames, int64_t latent_frame,
                                       int64_t chunks_done, int64_t total)>;

// latents [z, T, h, w], un-normalised. The mid block runs once over the whole picture; the rest
// tile by tile. What the watcher throws ends it.
TileCanvas decode_tiles(const Decoder& decoder, const at::Tensor& latents, const Tiling& tiling,
                        const TileWatcher& watch);

}  // namespace t2v::models::vae
