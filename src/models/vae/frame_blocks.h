// The decoder's blocks, one frame at a time, for devices whose library does the convolutions.
// Frames are [1, H, W, C]. Nothing is copied to be remembered: each causal convolution has a ring
// of three frames that its input is written into.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "models/placement.h"
#include "models/vae/frame_memory.h"
#include "ops/conv2d.h"

namespace t2v::models::vae {

// A convolution over the last three frames. They lie side by side in the channels of a ring, so
// that it is one over a picture of 3C channels; the order of the frames turns with the ring, and
// there is a copy of the weights for each.
class RingConv {
 public:
  // weight fp32 [O, C, 3, kh, kw], bias fp32 [O]; kernels larger than 1 see zeros around the frame.
  RingConv(const at::Tensor& weight, const at::Tensor& bias, const Placement& from, size_t index);
  RingConv(const Placement& from, const std::string& name, size_t index);

  // The place of the next frame: write all of it, then call products() once.
  [[nodiscard]] at::Tensor input(FrameMemory& memory) const;
  // [1, H, W, O] without bias, in the memory's shared products.
  [[nodiscard]] at::Tensor products(FrameMemory& memory) const;

  [[nodiscard]] const at::Tensor& bias() const { return bias_; }
  [[nodiscard]] int64_t out_channels() const { return bias_.size(0); }

 private:
  std::array<ops::Conv2d, 3> convs_;  // by the place of the newest frame
  at::Tensor bias_;                   // fp32
  int64_t border_ = 0;
  size_t index_ = 0;
};

// norm1 -> SiLU -> conv1 -> norm2 -> SiLU -> conv2, plus the input.
class FrameResidualBlock {
 public:
  // Takes two convolution indices from next_index.
  FrameResidualBlock(const Placement& from, const std::string& name, size_t& next_index);
  // The result goes to `place`, or where that is undefined to x or the level's wide buffer.
  at::Tensor forward(FrameMemory& memory, size_t level, const at::Tensor& x,
                     const at::Tensor& place) const;

 private:
  at::Tensor norm1_, norm2_;
  RingConv conv1_, conv2_;
  std::optional<ops::Conv2d> conv_shortcut_;  // where the number of channels changes
  at::Tensor end_bias_;                       // of conv2 and the shortcut
};

// As Upsampler (blocks.h).
class FrameUpsampler {
 public:
  FrameUpsampler(const Placement& from, const std::string& name, bool time, size_t& next_index);
  // Where the frame to be enlarged is to be written.
  [[nodiscard]] at::Tensor input(FrameMemory& memory, size_t level) const;
  // How many frames come of it: 2 with time, but for the video's first chunk.
  [[nodiscard]] int64_t prepare(FrameMemory& memory, size_t level) const;
  // Frame number `index` of those, twice as high and wide, in the next level's input.
  [[nodiscard]] at::Tensor enlarge(const FrameMemory& memory, size_t level, int64_t index) const;

 private:
  // The four phases of blocks.h as output channels of one convolution with kernel 2x2.
  ops::Conv2d phases_;
  at::Tensor bias_;  // fp32, of one phase
  std::optional<RingConv> time_conv_;
};

class FrameUpBlock {
 public:
  FrameUpBlock(const Placement& from, const std::string& name, const UpBlockSpec& spec,
               int64_t num_resnets, size_t& next_index);
  // The residual blocks; where there is an upsampler, its input is the result.
  at::Tensor forward(FrameMemory& memory, size_t level, at::Tensor x) const;
  [[nodiscard]] const std::optional<FrameUpsampler>& upsampler() const { return upsampler_; }

 private:
  std::vector<FrameResidualBlock> resnets_;
  std::optional<FrameUpsampler> upsampler_;
};

}  // namespace t2v::models::vae
