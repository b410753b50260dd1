// The memory of one video that is decoded frame by frame: all of it is laid out, and allocated,
// before the first frame.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <utility>
#include <vector>

#include "models/vae/network_part.h"
#include "models/vae/spec.h"

namespace t2v::models::vae {

enum class FrameBuffer {
  kRing,      // [H+2, W+2, 3, C] or [H, W, 3, C]: the last three input frames of one convolution
  kInput,     // [1, H, W, C]: what a level starts from
  kWide,      // [1, H, W, C]: the same after the number of channels has changed
  kBordered,  // [n, H+2, W+2, C]: what is enlarged, in a border of zeros
  kProducts,  // [n]: of the convolution at work; one for all
};

struct FrameBufferShape {
  FrameBuffer kind = FrameBuffer::kProducts;
  size_t index = 0;  // of the convolution (rings) or level
  std::vector<int64_t> shape;
};

// Everything that a part of the network needs for a video of latents [z, T, height, width].
// Convolutions are numbered in the order conv_in, mid block, up blocks (each with its time_conv
// last), conv_out; level 0 is the mid block with the first up block.
std::vector<FrameBufferShape> frame_buffers(const VaeSpec& spec, int64_t height, int64_t width,
                                            NetworkPart part);

class FrameMemory {
 public:
  FrameMemory(const std::vector<FrameBufferShape>& buffers, at::ScalarType dtype,
              at::Device device);

  struct Ring {
    at::Tensor frames;
    int64_t count = 0;  // frames written so far: the next one goes to place count % 3
  };
  Ring& ring(size_t index) { return rings_.at(index); }
  [[nodiscard]] const at::Tensor& buffer(FrameBuffer kind, size_t level) const {
    return buffers_.at({kind, level});
  }
  // Memory for [1, height, width, channels], shared by all: good until the next call.
  [[nodiscard]] at::Tensor products(int64_t height, int64_t width, int64_t channels) const;
  [[nodiscard]] int64_t bytes() const;

  bool first_chunk = true;

 private:
  std::map<size_t, Ring> rings_;
  std::map<std::pair<FrameBuffer, size_t>, at::Tensor> buffers_;
};

}  // namespace t2v::models::vae
