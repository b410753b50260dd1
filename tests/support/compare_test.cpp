#include "support/compare.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <limits>

using t2v::testing::mismatch;

TEST_CASE("equal tensors match, one wrong element does not") {
  const at::Tensor a = at::randn({7, 5});
  CHECK(mismatch(a, a.clone(), {}).empty());
  at::Tensor b = a.clone();
  b[3][2] += 1e-3;
  CHECK_FALSE(mismatch(b, a, {.absolute = 1e-4}).empty());
  CHECK(mismatch(b, a, {.absolute = 2e-3}).empty());
}

TEST_CASE("NaN and Inf never match") {
  const at::Tensor a = at::ones({4});
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor b = a.clone();
    b[1] = bad;
    CHECK_FALSE(mismatch(b, a, {.absolute = 1e9}).empty());
    CHECK_FALSE(mismatch(a, b, {.absolute = 1e9}).empty());
    CHECK_FALSE(mismatch(b, b, {.absolute = 1e9}).empty());
  }
}

TEST_CASE("wrong shape and dtype do not match") {
  const at::Tensor a = at::ones({4, 2});
  CHECK_FALSE(mismatch(a.view({2, 4}), a, {.absolute = 1e9}).empty());
  CHECK_FALSE(mismatch(a.to(at::kBFloat16), a, {.absolute = 1e9}).empty());
}
