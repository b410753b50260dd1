#include "ops/linear.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "support/compare.h"
#include "support/tolerance.h"

using namespace t2v;
using testing::mismatch;

TEST_CASE("packed products equal plain ones") {
  at::manual_seed(1);
  for (const auto [rows, in, out] :
       {std::array<int64_t, 3>{1, 64, 64}, {7, 65, 129}, {300, 192, 576}, {5, 3, 2}}) {
    const at::Tensor x = at::randn({rows, in});
    const at::Tensor w = at::randn({out, in}) / std::sqrt(static_cast<double>(in));
    const at::Tensor b = at::randn({out});
    const at::Tensor truth = at::linear(x.to(at::kDouble), w.to(at::kDouble), b.to(at::kDouble));
    const ops::Linear fp32(w, b);
    CHECK(mismatch(fp32(x).to(at::kDouble), truth, {1e-5, 1e-5}) == "");
    CHECK(mismatch(ops::Linear(w, {})(x).to(at::kDouble), truth - b, {1e-5, 1e-5}) == "");
    CHECK(mismatch(fp32(x, ops::Activation::kGeluTanh).to(at::kDouble), at::gelu(truth, "tanh"),
                   {1e-5, 1e-5}) == "");
    const ops::Linear bf16(w.to(at::kBFloat16), b.to(at::kBFloat16));
    CHECK(mismatch(bf16(x.to(at::kBFloat16)).to(at::kDouble), truth, {5e-2, 2e-2}) == "");
  }
}

TEST_CASE("rows do not depend on how many there are") {
  at::manual_seed(2);
  const ops::Linear linear(at::randn({256, 128}), at::randn({256}));
  const at::Tensor x = at::randn({40, 128});
  CHECK(mismatch(linear(x).narrow(0, 0, 20), linear(x.narrow(0, 0, 20)), {1e-5, 1e-5}) == "");
}

TEST_CASE("wrong input is refused") {
  const ops::Linear linear(at::randn({8, 4}), at::randn({8}));
  CHECK_THROWS(linear(at::randn({2, 5})));
  CHECK_THROWS(linear(at::randn({2, 4}).to(at::kBFloat16)));
}
