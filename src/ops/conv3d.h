// Convolution over video with channels last and weights prepared once: check, choose, call.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "ops/conv3d_direct.h"

namespace t2v::ops {

// kDirect: own AVX-512 loops. kAten: at::conv3d (oneDNN on the CPU, cuDNN on CUDA).
enum class ConvBackend { kDirect, kAten };

// The better one for this machine: kDirect on the CPU with AVX-512 (bf16: with its dot product) and
// without AMX, where oneDNN is quicker; kAten with the reference back end chosen (ops/backend.h).
ConvBackend choose_conv_backend(at::ScalarType dtype, int64_t in_channels, at::Device device);

// No padding, stride 1. Sums in fp32, rounded once to the type of the output.
class Conv3d {
 public:
  Conv3d() = default;
  // weight fp32 [O, C, kt, kh, kw], bias fp32 [O]; dtype kFloat or kBFloat16.
  Conv3d(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype, at::Device device);
  Conv3d(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype, at::Device device,
         ConvBackend backend);

  // in [T+kt-1, H+kh-1, W+kw-1, C], pixels dense (strides C, 1 at the end), rows and frames free.
  // out [T, H, W, O], channels dense, other strides free; in dtype or fp32.
  // residual: same shape and type as out, may be out itself; undefined for none.
  void run(const at::Tensor& in, const at::Tensor& out, const at::Tensor& residual) const;

  [[nodiscard]] int64_t in_channels() const noexcept { return in_channels_; }
  [[nodiscard]] int64_t out_channels() const noexcept { return out_channels_; }
  [[nodiscard]] ConvBackend backend() const noexcept { return backend_; }

 private:
  void check(const at::Tensor& in, const at::Tensor& out, const at::Tensor& residual) const;
  void run_aten(const at::Tensor& in, const at::Tensor& out, const at::Tensor& residual) const;

  ConvBackend backend_ = ConvBackend::kAten;
  at::ScalarType dtype_ = at::kFloat;
  int64_t in_channels_ = 0;
  int64_t out_channels_ = 0;
  int64_t kernel_[3] = {0, 0, 0};
  direct::PackedWeights packed_;  // kDirect
  at::Tensor weight_, bias_;      // kAten
};

}  // namespace t2v::ops
