// A 3x3 convolution that leaves every second pixel of every second row, with zeros behind the last
// row and column, as the VAE's encoder has it.
#pragma once

#include <ATen/core/Tensor.h>

namespace t2v::ops {

class HalvingConv {
 public:
  HalvingConv() = default;
  // weight fp32 [O, C, 3, 3], bias fp32 [O], on the CPU; dtype fp32, or a 16-bit type with fp32
  // sums.
  HalvingConv(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype,
              at::Device device);

  // x [T, H, W, C], H and W even, contiguous -> [T, H/2, W/2, O], contiguous. By LibTorch: oneDNN
  // on the CPU, cuDNN on CUDA. Takes memory for a copy of x and for the result.
  [[nodiscard]] at::Tensor run(const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
};

}  // namespace t2v::ops
