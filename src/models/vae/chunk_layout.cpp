#include "models/vae/chunk_layout.h"

#include <algorithm>

#include "ops/conv3d.h"

namespace t2v::models::vae {

void ChunkLayout::use(Purpose purpose, int64_t num_frames, int64_t channels) {
  const int64_t border = purpose == kBordered ? 2 : 0;
  int64_t& most = buffers_[{purpose, height_ + border, width_ + border, channels}];
  most = std::max(most, num_frames);
}

// What a convolution that is not ours makes beside its output.
void ChunkLayout::compose(int64_t in, int64_t num_frames, int64_t channels) {
  if (ops::choose_conv_backend(dtype_, in, device_) == ops::ConvBackend::kAten)
    composed_ = std::max(composed_, num_frames * height_ * width_ * channels);
}

void ChunkLayout::entry(int64_t in, int64_t out) {
  causal_conv(in, out);
  use(kBlockB, frames_, out);
}

void ChunkLayout::causal_conv(int64_t in, int64_t out) {
  cached_ += 2 * height_ * width_ * in;
  use(kBordered, frames_ + 2, in);
  compose(in, frames_, out);
}

void ChunkLayout::resnet(int64_t in, int64_t out) {
  use(kHidden, frames_, out);
  causal_conv(in, out);
  causal_conv(out, out);
  if (in != out) use(kBlockA, frames_, out);
}

void ChunkLayout::up_block(const UpBlockSpec& block, int64_t num_resnets) {
  const int64_t before = frames_ * height_ * width_ * block.in_channels;
  for (int64_t i = 0; i < num_resnets; ++i)
    resnet(i == 0 ? block.in_channels : block.channels, block.channels);
  if (!block.upsample_space) return;
  upsampler(block);
  // The block's input, and its part for one of the four pixels that it is added to.
  if (block.keeps_channels)
    passing_ = std::max(passing_, before + frames_ * height_ * width_ / 4 * block.out_channels());
}

void ChunkLayout::upsampler(const UpBlockSpec& block) {
  const int64_t c = block.channels;
  if (block.upsample_time) {
    cached_ += 2 * height_ * width_ * c;
    use(kTimeInput, frames_ + 2, c);
    compose(c, frames_, c);
    frames_ *= 2;
  }
  use(kBordered, frames_, c);
  compose(c, frames_, block.out_channels());
  height_ *= 2;
  width_ *= 2;
  use(kBlockB, frames_, block.out_channels());
}

void ChunkLayout::down_block(const DownBlockSpec& block, int64_t num_resnets, bool with_shortcut) {
  const int64_t before = frames_ * height_ * width_ * block.in_channels;
  for (int64_t i = 0; i < num_resnets; ++i)
    resnet(i == 0 ? block.in_channels : block.channels, block.channels);
  // A copy in another order; what is left of it is smaller.
  if (with_shortcut) passing_ = std::max(passing_, 2 * before);
  if (block.downsample_space) downsampler(block);
}

void ChunkLayout::downsampler(const DownBlockSpec& block) {
  const int64_t large = frames_ * (height_ + 1) * (width_ + 1) * block.channels;
  height_ /= 2;
  width_ /= 2;
  const int64_t small = frames_ * height_ * width_ * block.channels;
  int64_t passing = large + 2 * small;
  if (block.downsample_time) {
    cached_ += 2 * height_ * width_ * block.channels;
    frames_ /= 2;
    passing = std::max(passing, 4 * small);
  }
  passing_ = std::max(passing_, passing);
}

int64_t ChunkLayout::elements() const {
  int64_t total = cached_ + std::max(composed_, passing_);
  for (const auto& [sides, num_frames] : buffers_) {
    const auto [purpose, rows, columns, channels] = sides;
    total += num_frames * rows * columns * channels;
  }
  return total;
}

}  // namespace t2v::models::vae
