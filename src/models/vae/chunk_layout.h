// What the decoder and the encoder take of memory when all frames of a latent frame go through each
// layer together: a walk through the network with sizes alone.
#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <tuple>

#include "models/vae/spec.h"

namespace t2v::models::vae {

// Counted from the second latent frame on; elements, not bytes.
class ChunkLayout {
 public:
  // frames, height, width: where the walk begins.
  ChunkLayout(int64_t frames, int64_t height, int64_t width, at::ScalarType dtype,
              c10::DeviceType device)
      : frames_(frames), height_(height), width_(width), dtype_(dtype), device_(device) {}

  // conv_in: a causal convolution whose result has a buffer of its own.
  void entry(int64_t in, int64_t out);
  void causal_conv(int64_t in, int64_t out);
  void resnet(int64_t in, int64_t out);
  // The residual blocks of an up or a down block, and what follows them.
  void up_block(const UpBlockSpec& block, int64_t num_resnets);
  void down_block(const DownBlockSpec& block, int64_t num_resnets, bool with_shortcut);

  [[nodiscard]] int64_t elements() const;
  [[nodiscard]] int64_t height() const noexcept { return height_; }
  [[nodiscard]] int64_t width() const noexcept { return width_; }

 private:
  enum Purpose : int { kHidden, kTimeInput, kBlockA, kBlockB, kBordered };
  using Sides = std::tuple<int, int64_t, int64_t, int64_t>;  // purpose, height, width, channels

  void use(Purpose purpose, int64_t num_frames, int64_t channels);
  void compose(int64_t in, int64_t num_frames, int64_t channels);
  void upsampler(const UpBlockSpec& block);
  void downsampler(const DownBlockSpec& block);

  int64_t frames_, height_, width_;  // of the level
  int64_t cached_ = 0;
  int64_t composed_ = 0;              // of the largest convolution that LibTorch does
  int64_t passing_ = 0;               // of the largest layer whose tensors are its own
  std::map<Sides, int64_t> buffers_;  // frames in each
  at::ScalarType dtype_;
  c10::DeviceType device_;
};

}  // namespace t2v::models::vae
