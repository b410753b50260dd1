// The fused loops of the CPU against their composed twins, and both against fp64.
#include "ops/norm.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "support/compare.h"
#include "support/tolerance.h"
#include "t2v/error.h"

using namespace t2v;
using testing::mismatch;
using testing::tolerance_for;

namespace {

constexpr double kEps = 1e-6;
const int64_t kWidths[] = {1, 3, 16, 31, 96, 1536, 5120};

struct WithBackend {
  explicit WithBackend(ops::OpBackend backend) { ops::set_backend(backend); }
  ~WithBackend() { ops::set_backend(ops::OpBackend::kFused); }
};

template <typename Fn>
void compare_backends(at::ScalarType type, const Fn& run) {
  REQUIRE(std::string(ops::op_table(at::DeviceType::CPU).name) == "cpu");
  const at::Tensor fused = run();
  const WithBackend reference(ops::OpBackend::kReference);
  REQUIRE(std::string(ops::op_table(at::DeviceType::CPU).name) == "reference");
  CHECK(mismatch(fused, run(), tolerance_for(type)) == "");
}

ops::QkvHeads run_rope(ops::QkNormRope in, int64_t num_heads) {
  in.eps = kEps;
  const auto out = ops::empty_heads(in.qkv, num_heads, in.rope->num_tokens());
  ops::qk_norm_rope(in, out);
  return out;
}

}  // namespace

TEST_CASE("layer_norm_modulate equals its twin") {
  at::manual_seed(1);
  for (const int64_t c : kWidths) {
    for (const auto in : {at::kFloat, at::kBFloat16}) {
      for (const auto out : {at::kFloat, at::kBFloat16}) {
        const at::Tensor x = (at::randn({37, c}) * 3 + 1).to(in);
        const at::Tensor scale = at::randn({c});
        const at::Tensor shift = at::randn({c});
        compare_backends(out, [&] { return ops::layer_norm_modulate(x, scale, shift, kEps, out); });
        compare_backends(out, [&] { return ops::layer_norm(x, scale, shift, kEps, out); });
      }
    }
  }
}

TEST_CASE("rms_norm equals its twin, also on strided rows") {
  at::manual_seed(2);
  for (const int64_t c : kWidths) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor wide = at::randn({19, c + 5}).to(type);
      const at::Tensor weight = at::randn({c});
      compare_backends(type, [&] { return ops::rms_norm(wide.narrow(1, 3, c), weight, kEps); });
    }
  }
}

TEST_CASE("rms_norm is no further from fp64 than the twin allows") {
  at::manual_seed(3);
  const at::Tensor x = at::randn({64, 1536}).to(at::kBFloat16);
  const at::Tensor weight = at::randn({1536});
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor truth =
      wide * at::rsqrt(wide.square().mean(-1, true) + kEps) * weight.to(at::kDouble);
  const double fused = testing::max_error(ops::cpu_ops().rms_norm(x, weight, kEps), truth);
  const double twin = testing::max_error(ops::reference_ops().rms_norm(x, weight, kEps), truth);
  CHECK(fused <= 2 * twin);
}

TEST_CASE("qk_norm_rope equals its twin for any head size") {
  at::manual_seed(4);
  for (const int64_t d : {6, 32, 40, 128}) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const int64_t heads = 3;
      const auto rope = ops::make_rope_tables(2, 3, 5, d, at::kCPU);
      const at::Tensor qkv = at::randn({30, 3 * heads * d}).to(type);
      const at::Tensor nq = at::randn({heads * d});
      const at::Tensor nk = at::randn({heads * d});
      for (int part = 0; part < 3; ++part) {
        compare_backends(type, [&] {
          const auto out = run_rope({.qkv = qkv, .norm_q = nq, .norm_k = nk, .rope = &rope}, heads);
          return part == 0 ? out.q : part == 1 ? out.k : out.v;
        });
      }
    }
  }
}

TEST_CASE("qk_norm_rope in pieces equals the whole, with both back ends") {
  at::manual_seed(7);
  for (const auto backend : {ops::OpBackend::kFused, ops::OpBackend::kReference}) {
    const WithBackend chosen(backend);
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const auto rope = ops::make_rope_tables(2, 3, 5, 32, at::kCPU);
      const at::Tensor qkv = at::randn({30, 3 * 64}).to(type);
      ops::QkNormRope in{.norm_q = at::randn({64}), .norm_k = at::randn({64}), .rope = &rope};
      in.qkv = qkv;
      const ops::QkvHeads whole = run_rope(in, 2);
      const ops::QkvHeads pieces = ops::empty_heads(qkv, 2, 30);
      in.eps = kEps;
      for (const int64_t first : {13, 0, 26}) {
        in.first_token = first;
        in.qkv = qkv.narrow(0, first, first == 26 ? 4 : 13);
        ops::qk_norm_rope(in, pieces);
      }
      CHECK(at::equal(pieces.q, whole.q));
      CHECK(at::equal(pieces.k, whole.k));
      CHECK(at::equal(pieces.v, whole.v));
      in.first_token = 27;
      CHECK_THROWS_AS(ops::qk_norm_rope(in, pieces), Error);
    }
  }
}

TEST_CASE("rope keeps norms and sees only differences of positions") {
  at::manual_seed(5);
  const int64_t d = 32;
  const auto rope = ops::make_rope_tables(4, 4, 4, d, at::kCPU);
  const at::Tensor ones = at::ones({d});
  const at::Tensor row = at::randn({1, 3 * d});
  const auto out =
      run_rope({.qkv = row.repeat({64, 1}), .norm_q = ones, .norm_k = ones, .rope = &rope}, 1);
  const at::Tensor norms = out.q[0].norm(2, -1);
  CHECK((norms - norms[0]).abs().max().item<float>() < 1e-4F);
  // token (f,h,w) = 16f + 4h + w: pairs at the same distance have the same score.
  const at::Tensor scores = at::matmul(out.q[0], out.k[0].t());
  CHECK(scores[0][21].item<float>() == Approx(scores[21][42].item<float>()).epsilon(1e-4));
  CHECK(scores[1][6].item<float>() == Approx(scores[33][38].item<float>()).epsilon(1e-4));
}

TEST_CASE("gate_residual_ equals its twin, with and without a gate") {
  at::manual_seed(6);
  for (const int64_t c : kWidths) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = at::randn({23, c});
      const at::Tensor branch = at::randn({23, c}).to(type);
      for (const at::Tensor& gate : {at::randn({c}), at::Tensor()}) {
        compare_backends(at::kFloat, [&] {
          at::Tensor y = x.clone();
          ops::gate_residual_(y, branch, gate);
          return y;
        });
      }
    }
  }
}

TEST_CASE("gate_residual_norm_ equals the two ops one after the other") {
  at::manual_seed(8);
  for (const int64_t c : kWidths) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = at::randn({23, c});
      const at::Tensor branch = at::randn({23, c}).to(type);
      const at::Tensor a = at::randn({c});
      const at::Tensor b = at::randn({c});
      for (const at::Tensor& gate : {at::randn({c}), at::Tensor()}) {
        for (const auto kind : {ops::NormKind::kModulate, ops::NormKind::kAffine}) {
          compare_backends(type, [&] {
            at::Tensor sum = x.clone();
            at::Tensor expected_sum = x.clone();
            const at::Tensor y = ops::gate_residual_norm_(
                sum, branch, gate, {.kind = kind, .a = a, .b = b}, kEps, type);
            ops::gate_residual_(expected_sum, branch, gate);
            CHECK(at::equal(sum, expected_sum));
            CHECK(at::equal(y, kind == ops::NormKind::kModulate
                                   ? ops::layer_norm_modulate(sum, a, b, kEps, type)
                                   : ops::layer_norm(sum, a, b, kEps, type)));
            return y;
          });
        }
      }
    }
  }
}

TEST_CASE("layer_norm_quantise: rotated values, and back again") {
  at::manual_seed(9);
  const at::Tensor x = at::randn({5, 512}) * 2 + 1;
  const ops::RowNorm norm{.a = at::randn({512}), .b = at::randn({512})};
  const at::Tensor y = ops::layer_norm_modulate(x, norm.a, norm.b, kEps, at::kFloat);
  for (const int64_t group : {0, 64, 256}) {
    const auto rows = ops::layer_norm_quantise(x, norm, kEps, group);
    CHECK(rows.values.scalar_type() == at::kChar);
    CHECK(rows.values.abs().amax(1).to(at::kInt).eq(127).all().item<bool>());
    const at::Tensor z = rows.values.to(at::kFloat) * rows.row_scale.unsqueeze(1);
    if (group == 0) {
      CHECK(((z - y).abs() <= 0.51 * rows.row_scale.unsqueeze(1)).all().item<bool>());
      continue;
    }
    // A rotation: groups keep their norms and, the matrix being regular, their sums.
    const at::Tensor before = y.view({5, -1, group});
    const at::Tensor after = z.view({5, -1, group});
    CHECK((before.norm(2, -1) - after.norm(2, -1)).abs().max().item<float>() < 0.05F);
    CHECK((before.sum(-1) - after.sum(-1)).abs().max().item<float>() < 1.0F);
    CHECK((before - after).abs().max().item<float>() > 0.5F);
  }
  CHECK_THROWS_AS(ops::layer_norm_quantise(x, norm, kEps, 128), Error);
}

TEST_CASE("wrong shapes and types are refused") {
  const at::Tensor x = at::randn({4, 8});
  const at::Tensor v = at::randn({8});
  CHECK_THROWS_AS(ops::rms_norm(x, at::randn({7}), kEps), Error);
  CHECK_THROWS_AS(ops::rms_norm(x, v.to(at::kBFloat16), kEps), Error);
  CHECK_THROWS_AS(ops::rms_norm(x.t(), at::randn({4}), kEps), Error);
  CHECK_THROWS_AS(ops::layer_norm(x, v, at::randn({9}), kEps, at::kFloat), Error);
  at::Tensor narrow = x.to(at::kBFloat16);
  CHECK_THROWS_AS(ops::gate_residual_(narrow, x, v), Error);
  at::Tensor sum = x.clone();
  CHECK_THROWS_AS(
      ops::gate_residual_norm_(sum, x, v, {.a = v, .b = at::randn({7})}, kEps, at::kFloat), Error);
  CHECK_THROWS_AS(ops::gate_residual_norm_(sum, x, v, {.b = v}, kEps, at::kFloat), Error);
  CHECK_THROWS_AS(ops::op_table(at::DeviceType::CUDA), Error);
}
