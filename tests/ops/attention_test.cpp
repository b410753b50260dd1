#include "ops/attention.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "ops/attention_bf16.h"
#include "ops/attention_choice.h"
#include "ops/attention_reference.h"
#include "support/compare.h"
#include "t2v/error.h"

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

TEST_CASE("back ends have names, and no others") {
  using ops::AttentionBackend;
  for (const char* name : {"auto", "cudnn", "flash", "own", "own-int8", "reference"}) {
    const auto backend = ops::attention_backend(name);
    REQUIRE(backend.has_value());
    CHECK(std::string(ops::attention_name(*backend)) == name);
  }
  for (const char* name : {"", "Auto", "aten", "flash "}) CHECK(!ops::attention_backend(name));
}

TEST_CASE("every back end of the CPU follows the definition; the others are refused up front") {
  at::manual_seed(6);
  using ops::AttentionBackend;
  const at::Device cpu(at::kCPU);
  const at::Tensor q = at::randn({3, 70, 64});
  const at::Tensor k = at::randn({3, 130, 64});
  const at::Tensor v = at::randn({3, 130, 64});
  const auto b = [](const at::Tensor& x) { return x.to(at::kBFloat16); };
  for (const at::Tensor& bias : {at::Tensor(), at::randn({130}) * 3}) {
    for (const auto backend :
         {AttentionBackend::kAuto, AttentionBackend::kFlash, AttentionBackend::kReference}) {
      CAPTURE(ops::attention_name(backend));
      ops::require_attention(backend, cpu, at::kFloat, 64);
      CHECK(mismatch(ops::attention(q, k, v, bias, backend).to(at::kDouble), truth(q, k, v, bias),
                     {2e-5, 2e-5}) == "");
      CHECK(mismatch(ops::attention(b(q), b(k), b(v), bias, backend).to(at::kDouble),
                     truth(b(q), b(k), b(v), bias), {2e-2, 2e-2}) == "");
    }
  }
  CHECK_THROWS_AS(ops::require_attention(AttentionBackend::kCudnn, cpu, at::kBFloat16, 128), Error);
  CHECK_THROWS_AS(ops::attention(b(q), b(k), b(v), {}, AttentionBackend::kCudnn), Error);
  CHECK_THROWS_AS(ops::require_attention(AttentionBackend::kOwn, cpu, at::kFloat, 64), Error);
  CHECK_THROWS_AS(ops::require_attention(AttentionBackend::kOwn, cpu, at::kBFloat16, 7), Error);
  if (ops::avx512bf16::is_supported())
    CHECK_NOTHROW(ops::require_attention(AttentionBackend::kOwn, cpu, at::kBFloat16, 64));
}

TEST_CASE("the composed attention takes lists of blocks, and any size in chunks") {
  at::manual_seed(7);
  const ops::AttentionInputs in{
      at::randn({2, 260, 16}),
      at::randn({2, 150, 16}),
      at::randn({2, 150, 16}),
      {},
      at::tensor({0, 2, 9, 1, 9, 9, 0, 1, 2}, at::kInt).view({1, 3, 3}),  // 9: not counted
      at::tensor({2, 1, 3}, at::kInt).view({1, 3})};
  const at::Tensor got = ops::reference::attention(in, ops::reference::block_mask(in));
  at::Tensor mask = at::full({260, 150}, -INFINITY);
  mask.narrow(0, 0, 128).narrow(1, 0, 64).zero_();
  mask.narrow(0, 0, 128).narrow(1, 128, 22).zero_();
  mask.narrow(0, 128, 128).narrow(1, 64, 64).zero_();
  mask.narrow(0, 256, 4).zero_();
  CHECK(mismatch(got.to(at::kDouble), truth(in.q, in.k, in.v, mask), {2e-5, 2e-5}) == "");

  // 12 heads, 2,400 tokens: 276 MB of scores, so head by head.
  const at::Tensor x = at::randn({12, 2400, 8});
  const at::Tensor all = ops::reference::attention({x, x, x, {}, {}, {}});
  CHECK(mismatch(all.narrow(1, 80, 8).to(at::kDouble),
                 truth(x.narrow(0, 10, 1), x.narrow(0, 10, 1), x.narrow(0, 10, 1), {}),
                 {2e-5, 2e-5}) == "");
}

TEST_CASE("auto on CUDA chooses by architecture, type and size, and only what can run") {
  using ops::CudaAttention;
  const auto choose = [](int capability, at::ScalarType type, int64_t head_size, int64_t tokens) {
    return ops::choose_attention({capability, type, head_size, tokens}).kernel;
  };
  CHECK(choose(90, at::kBFloat16, 128, 32760) == CudaAttention::kCudnn);
  CHECK(choose(100, at::kHalf, 128, 75600) == CudaAttention::kCudnn);
  CHECK(choose(89, at::kBFloat16, 128, 32760) == CudaAttention::kFlash);
  CHECK(choose(120, at::kBFloat16, 128, 32760) == CudaAttention::kFlash);
  CHECK(choose(90, at::kBFloat16, 128, 500) == CudaAttention::kFlash);
  CHECK(choose(90, at::kBFloat16, 256, 32760) == CudaAttention::kFlash);
  CHECK(choose(90, at::kFloat, 128, 32760) == CudaAttention::kEfficient);
  CHECK(choose(90, at::kBFloat16, 10, 32760) == CudaAttention::kReference);
  CHECK(choose(75, at::kHalf, 128, 32760) == CudaAttention::kReference);
  CHECK(choose(90, at::kDouble, 128, 100) == CudaAttention::kReference);
  for (const int capability : {70, 80, 86, 89, 90, 100, 103, 120, 121}) {
    for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      for (const int64_t head_size : {6, 64, 72, 128, 160, 256, 512}) {
        for (const int64_t tokens : {0, 1, 2047, 2048, 75600}) {
          const ops::AttentionShape shape{capability, type, head_size, tokens};
          const auto choice = ops::choose_attention(shape);
          CHECK(ops::can_run(choice.kernel, shape));
          CHECK(std::string(choice.reason) != "");
        }
      }
    }
  }
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
