// The decoder's blocks: residual, attention, upsampling. Videos are [T, H, W, C].
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "models/vae/causal_conv.h"
#include "models/vae/shortcuts.h"
#include "models/vae/spec.h"
#include "ops/linear.h"

namespace t2v::models::vae {

// norm1 -> SiLU -> conv1 -> norm2 -> SiLU -> conv2, plus the input.
class ResidualBlock {
 public:
  // Takes two convolution indices from next_index.
  ResidualBlock(const Placement& from, const std::string& name, size_t& next_index);
  // x may be overwritten; returns x or another tensor.
  at::Tensor forward(StreamMemory& memory, const at::Tensor& x) const;

 private:
  at::Tensor norm1_, norm2_;
  CausalConv conv1_, conv2_;
  std::optional<ops::Conv3d> conv_shortcut_;  // where the number of channels changes
};

// Self-attention within each frame, one head over all pixels, plus the input.
class AttentionBlock {
 public:
  AttentionBlock(const Placement& from, const std::string& name);
  // In place.
  void forward(at::Tensor& x) const;

 private:
  at::Tensor norm_;
  ops::Linear to_qkv_, proj_;
};

// Twice the height and width (nearest neighbour, then a 3x3 convolution to half the channels), and
// with `time` twice the frames before that, but for the video's first chunk.
class Upsampler {
 public:
  Upsampler(const Placement& from, const std::string& name, bool time, size_t& next_index);
  at::Tensor forward(StreamMemory& memory, const at::Tensor& x) const;

 private:
  // Doubles the frames into `out` [2T, H, W, C].
  void double_frames(StreamMemory& memory, const at::Tensor& x, const at::Tensor& out) const;

  // Each pixel of the doubled picture sees two rows and two columns of the small one, some taps
  // falling together: [row parity * 2 + column parity], kernel 1x2x2. 2.25 times less work.
  std::vector<ops::Conv3d> phases_;
  std::vector<ops::Conv3d> time_conv_;  // even and odd frames; empty without time
  size_t index_ = 0;
};

class UpBlock {
 public:
  // Where spec.keeps_channels (VAE 2.2), what comes in is added, spread, to what comes out.
  UpBlock(const Placement& from, const std::string& name, const UpBlockSpec& spec,
          int64_t num_resnets, size_t& next_index);
  at::Tensor forward(StreamMemory& memory, at::Tensor x) const;

 private:
  std::vector<ResidualBlock> resnets_;
  std::optional<Upsampler> upsampler_;
  std::optional<DuplicateUp> shortcut_;
};

}  // namespace t2v::models::vae
