// Compares tensors: same shape, same dtype, everything finite, every element within its bound.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace t2v::testing {

struct Tolerance {
  double absolute = 0;
  double relative = 0;
};

// "" when `got` is as `expected`; else what is wrong: shape, dtype, or the worst element with its
// index, how many are off, and the 99.9th percentile of the error. NaN anywhere is wrong.
std::string mismatch(const at::Tensor& got, const at::Tensor& expected, Tolerance tolerance);

// Largest |got - expected|; NaN when anything is not finite.
double max_error(const at::Tensor& got, const at::Tensor& expected);

}  // namespace t2v::testing
