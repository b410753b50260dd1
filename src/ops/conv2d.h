// Products of a 2-D convolution over pictures with channels last, for devices where a library does
// them: bias and all else are added by what comes behind (vae_norm.h, add_bias_residual.h).
#pragma once

#include <ATen/core/Tensor.h>

namespace t2v::ops {

class Conv2d {
 public:
  Conv2d() = default;
  // weight fp32 [O, C, kh, kw] on the CPU; dtype fp32, or a 16-bit type with fp32 sums.
  Conv2d(const at::Tensor& weight, at::ScalarType dtype, at::Device device);

  // in [n, H+kh-1, W+kw-1, C], out [n, H, W, padded_out_channels()], both contiguous, of the given
  // type. No padding, stride 1. On CUDA: cuDNN straight into out, deterministic, no TF32; it takes
  // workspace from LibTorch's allocator and a plan that needs less where that is refused.
  void run(const at::Tensor& in, const at::Tensor& out) const;

  // O rounded up to a multiple of 8, which the matrix units like; the channels past O are zeros.
  [[nodiscard]] int64_t padded_out_channels() const { return weight_.size(0); }
  static int64_t padded(int64_t channels) { return (channels + 7) / 8 * 8; }

 private:
  at::Tensor weight_;  // channels last
};

}  // namespace t2v::ops
