// What the GPU tests of attention share: sizes, and how far a result is from its fp64 truth.
#pragma once

#include <array>

#include "gpu_check.h"

namespace t2v::testing {

constexpr at::ScalarType kNarrow[] = {at::kBFloat16, at::kHalf};

inline double error_of(const at::Tensor& got, const at::Tensor& want) {
  REQUIRE(got.sizes() == want.sizes());
  const at::Tensor wide = got.to(at::kDouble);
  REQUIRE(wide.isfinite().all().item<bool>());
  return (wide - want).abs().max().item<double>();
}

inline double cosine(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor a = got.to(at::kDouble).flatten();
  const at::Tensor b = want.flatten();
  return (a.dot(b) / (a.norm() * b.norm())).item<double>();
}

// The rounding of the output alone: half a unit of the largest value.
inline double unit(const at::Tensor& want, at::ScalarType type) {
  return want.abs().max().item<double>() * (type == at::kBFloat16 ? 0x1p-8 : 0x1p-11);
}

}  // namespace t2v::testing
