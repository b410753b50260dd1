// What the GPU tests of the fused ops share. The truth is fp64, made by ATen's own operations on
// the device; a fused op may err at most twice as much as its composed twin in the storage type,
// plus fp32 rounding.
#pragma once

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "ops/backend.h"
#include "support/gpu_device.h"

namespace t2v::testing {

constexpr at::ScalarType kFloatTypes[] = {at::kFloat, at::kBFloat16, at::kHalf};

inline const ops::OpTable& fused() { return ops::op_table(at::DeviceType::CUDA); }
inline const ops::OpTable& twin() { return ops::reference_ops(); }

// Fresh numbers on the device.
inline at::Tensor normal(at::IntArrayRef sizes) {
  return at::randn(sizes, at::TensorOptions().device(at::kCUDA));
}

// A copy whose rows start at odd elements: offset and stride are one element off.
inline at::Tensor misaligned(const at::Tensor& x) {
  const at::Tensor wide = at::full({x.size(0), x.size(1) + 1}, NAN, x.options());
  at::Tensor rows = wide.narrow(1, 1, x.size(1));
  rows.copy_(x);
  return rows;
}

// `low` is the twin's result in the storage type; `truth` is fp64.
inline void check_error(const at::Tensor& actual, const at::Tensor& low, const at::Tensor& truth) {
  REQUIRE(actual.sizes() == truth.sizes());
  REQUIRE(actual.scalar_type() == low.scalar_type());
  const at::Tensor got = actual.to(at::kDouble);
  REQUIRE(got.isfinite().all().item<bool>());
  const double error = (got - truth).abs().max().item<double>();
  const double allowed = 2 * (low.to(at::kDouble) - truth).abs().max().item<double>() +
                         2e-6 * (1 + truth.abs().max().item<double>());
  CAPTURE(error, allowed);
  CHECK(error <= allowed);
}

}  // namespace t2v::testing
