// The encoder's blocks: halving height and width, and frames; residual blocks before that. Videos
// are [T, H, W, C].
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "models/vae/blocks.h"
#include "models/vae/shortcuts.h"
#include "ops/halving_conv.h"

namespace t2v::models::vae {

// Half the height and width, and with `time` half the frames behind that, but for the video's first
// chunk. Later chunks have an even number of frames.
class Downsampler {
 public:
  Downsampler(const Placement& from, const std::string& name, bool time, size_t& next_index);
  at::Tensor forward(StreamMemory& memory, const at::Tensor& x) const;

 private:
  ops::HalvingConv space_;
  std::optional<ops::Conv3d> time_conv_;
  size_t index_ = 0;
};

class DownBlock {
 public:
  // with_shortcut: VAE 2.2's average of the block's input is added to what comes out.
  DownBlock(const Placement& from, const DownBlockNames& names, const DownBlockSpec& spec,
            bool with_shortcut, size_t& next_index);
  at::Tensor forward(StreamMemory& memory, at::Tensor x) const;

 private:
  DownBlockSpec spec_;
  bool with_shortcut_;
  std::vector<ResidualBlock> resnets_;
  std::optional<Downsampler> downsampler_;
};

}  // namespace t2v::models::vae
