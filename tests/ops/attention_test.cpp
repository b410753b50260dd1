#include "ops/attention.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "ops/attention_bf16.h"
#include "support/compare.h"

using namespace t2v;
using testing::mismatch;

namespace {

at::Tensor truth(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const at::Tensor& bias) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2)));
  at::Tensor scores = at::matmul(q.to(at::kDouble), k.to(at::kDouble).transpose(1, 2)) * scale;
  if (bias.defined()) scores = scores + bias.to(at::kDouble);
  return at::matmul(at::softmax(scores, -1), v.to(at::kDouble))
      .transpose(0, 1)
      .reshape({q.size(1), -1});
}

}  // namespace

TEST_CASE("attention equals its fp64 definition") {
  at::manual_seed(1);
  for (const auto [n, l, s, d] : {std::array<int64_t, 4>{1, 1, 1, 8},
                                  {2, 5, 3, 32},
                                  {3, 129, 129, 64},
                                  {2, 200, 77, 128},
                                  {2, 65, 513, 128},
                                  {1, 300, 300, 40},
                                  {1, 31, 1000, 6}}) {
    const at::Tensor q = at::randn({n, l, d});
    const at::Tensor k = at::randn({n, s, d});
    const at::Tensor v = at::randn({n, s, d});
    for (const at::Tensor& bias : {at::Tensor(), at::randn({s}) * 3}) {
      const at::Tensor want = truth(q, k, v, bias);
      CHECK(mismatch(ops::attention(q, k, v, bias).to(at::kDouble), want, {2e-5, 2e-5}) == "");
      const auto b = [](const at::Tensor& x) { return x.to(at::kBFloat16); };
      const at::Tensor narrow = truth(b(q), b(k), b(v), bias);
      CHECK(mismatch(ops::attention(b(q), b(k), b(v), bias).to(at::kDouble), narrow,
                     {2e-2, 2e-2}) == "");
    }
  }
}

TEST_CASE("attention copes with large and equal scores") {
  at::manual_seed(2);
  const at::Tensor k = at::randn({2, 150, 64});
  const at::Tensor v = at::randn({2, 150, 64});
  for (const double factor : {0.0, 50.0}) {
    const at::Tensor q = at::randn({2, 70, 64}) * factor;
    const auto b = [](const at::Tensor& x) { return x.to(at::kBFloat16); };
    CHECK(mismatch(ops::attention(q, k, v).to(at::kDouble), truth(q, k, v, {}), {1e-4, 1e-4}) ==
          "");
    CHECK(mismatch(ops::attention(b(q), b(k), b(v)).to(at::kDouble), truth(b(q), b(k), b(v), {}),
                   {3e-2, 3e-2}) == "");
  }
}

TEST_CASE("both back ends agree, and the one named is the one that runs") {
  at::manual_seed(5);
  const auto make = [](int64_t rows) { return at::randn({3, rows, 64}).to(at::kBFloat16); };
  const at::Tensor q = make(100);
  const at::Tensor k = make(600);
  const at::Tensor v = make(600);
  const at::Tensor aten = ops::attention(q, k, v, {}, ops::AttentionBackend::kFlash);
  const at::Tensor want = truth(q, k, v, {});
  CHECK_THROWS(ops::attention(q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat), {},
                              ops::AttentionBackend::kOwn));
  if (!ops::avx512bf16::is_supported()) return;
  const at::Tensor own = ops::attention(q, k, v, {}, ops::AttentionBackend::kOwn);
  CHECK(testing::max_error(own, want) <= 2 * testing::max_error(aten, want));
}

TEST_CASE("queries may be strided views") {
  at::manual_seed(3);
  const at::Tensor q = at::randn({90, 4, 32}).to(at::kBFloat16).transpose(0, 1);
  const at::Tensor k = at::randn({4, 33, 32}).to(at::kBFloat16);
  CHECK(mismatch(ops::attention(q, k, k), ops::attention(q.contiguous(), k, k), {}) == "");
}

TEST_CASE("a folded padding row weighs as much as its copies") {
  at::manual_seed(4);
  const int64_t n = 13;
  const int64_t pads = 499;
  const at::Tensor q = at::randn({3, 40, 32});
  const at::Tensor real = at::randn({3, n, 32});
  const at::Tensor pad = at::randn({3, 1, 32});
  const at::Tensor full = at::cat({real, pad.expand({3, pads, 32})}, 1);
  at::Tensor bias = at::zeros({n + 1});
  bias[n] = std::log(static_cast<double>(pads));
  const at::Tensor folded = at::cat({real, pad}, 1);
  CHECK(mismatch(ops::attention(q, folded, folded, bias),
                 ops::attention(q, full.contiguous(), full.contiguous()), {2e-6, 2e-5}) == "");
}
