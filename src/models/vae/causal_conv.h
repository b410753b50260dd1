// A convolution that sees only the past, for a video that arrives in pieces, and the buffers it
// works in.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "models/placement.h"
#include "ops/conv3d.h"

namespace t2v::models::vae {

// Frames, height, width, channels.
struct VideoSize {
  int64_t frames = 0;
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
};

VideoSize size_of(const at::Tensor& video);

// The memory of one stream: the last input frames of each causal convolution, and work buffers that
// all convolutions of one size share.
class StreamMemory {
 public:
  StreamMemory(at::ScalarType dtype, at::Device device) : dtype_(dtype), device_(device) {}

  // [frames, height, width, channels], contents undefined. One buffer for each size and purpose.
  enum class Purpose { kHidden, kTimeInput, kBlockA, kBlockB };
  at::Tensor video(Purpose purpose, const VideoSize& size);
  // [frames, height + 2, width + 2, channels] with a border of zeros that nobody may write to.
  at::Tensor bordered(const VideoSize& size);
  // The cache of convolution number `index`: two frames, zero before the video's start.
  at::Tensor& cache(size_t index, const VideoSize& size);

  [[nodiscard]] int64_t bytes() const;

  bool first_chunk = true;

 private:
  using Key = std::pair<int, std::vector<int64_t>>;
  at::Tensor grown(const Key& key, const VideoSize& size);

  at::ScalarType dtype_;
  at::Device device_;
  std::map<Key, at::Tensor> buffers_;
  std::map<size_t, at::Tensor> caches_;
};

// The inside of a bordered buffer.
at::Tensor inside(const at::Tensor& bordered);

// Kernel 3x3x3 behind two frames of the past; borders in space are zero.
class CausalConv {
 public:
  // index: unlike that of any other in the network.
  CausalConv(const Placement& from, const std::string& name, size_t index);

  // The buffer to write the input to ([T, H, W, C], a view), followed by finish().
  at::Tensor input(StreamMemory& memory, const VideoSize& size) const;
  // Convolves what was written; remembers its last two frames. out, residual as for ops::Conv3d.
  void finish(StreamMemory& memory, const VideoSize& size, const at::Tensor& out,
              const at::Tensor& residual) const;

  [[nodiscard]] int64_t out_channels() const noexcept { return conv_.out_channels(); }

 private:
  ops::Conv3d conv_;
  size_t index_;
};

}  // namespace t2v::models::vae
