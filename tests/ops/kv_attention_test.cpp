// Attention over caches and in int8, on the CPU, against fp64.
#include "ops/kv_attention.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "ops/attention_bf16.h"
#include "ops/attention_cpu.h"
#include "ops/attention_int8_reference.h"
#include "ops/attention_reference.h"
#include "support/compare.h"
#include "t2v/error.h"

using namespace t2v;
using ops::AttentionBackend;
using testing::mismatch;

namespace {

struct Truth {
  at::Tensor out;  // [L, N*D]
  at::Tensor lse;  // [N, L]
};

Truth truth(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2)));
  const at::Tensor scores =
      at::matmul(q.to(at::kDouble), k.to(at::kDouble).transpose(1, 2)) * scale;
  return {at::matmul(at::softmax(scores, -1), v.to(at::kDouble))
              .transpose(0, 1)
              .reshape({q.size(1), -1}),
          at::logsumexp(scores, -1)};
}

double cosine(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor a = got.to(at::kDouble).flatten();
  const at::Tensor b = want.to(at::kDouble).flatten();
  return (a.dot(b) / (a.norm() * b.norm())).item<double>();
}

// A prefix of a longer ring, whose other rows are NaN.
at::Tensor in_ring(const at::Tensor& x, int64_t spare) {
  const at::Tensor ring = at::full({x.size(0), x.size(1) + spare, x.size(2)},
                                   std::numeric_limits<double>::quiet_NaN(), x.options());
  at::Tensor prefix = ring.narrow(1, 0, x.size(1));
  prefix.copy_(x);
  return prefix;
}

// `x` quantised into a ring with room for more.
struct Quantised {
  at::Tensor values, scale;

  explicit Quantised(const at::Tensor& x) {
    const int64_t groups = ops::kv_scale_groups(x.size(2));
    const at::Tensor ring = at::full({x.size(0), x.size(1) + 9, x.size(2)}, 77, at::kChar);
    const at::Tensor scales = at::full({x.size(0), x.size(1) + 9, groups},
                                       std::numeric_limits<double>::quiet_NaN(), at::kHalf);
    values = ring.narrow(1, 0, x.size(1));
    scale = scales.narrow(1, 0, x.size(1));
    ops::quantise_keys(x, values, scale);
  }
  [[nodiscard]] at::Tensor wide() const { return ops::expand_keys(values, scale, at::kFloat); }
};

// Queries and keys as after RMSNorm and RoPE in Wan: rows of norm sqrt(D), and a few channels in
// which all keys are large alike.
at::Tensor wan_like(int64_t heads, int64_t rows, int64_t head_size, bool outliers) {
  at::Tensor x = at::randn({heads, rows, head_size});
  if (outliers) {
    x.narrow(2, 3, 2).add_(9.0);
    x.narrow(2, head_size - 5, 1).sub_(14.0);
  }
  return x / x.square().mean(-1, true).sqrt() * 1.2;
}

const AttentionBackend kCpuBackends[] = {AttentionBackend::kAuto, AttentionBackend::kFlash,
                                         AttentionBackend::kOwn, AttentionBackend::kReference};

bool runs(AttentionBackend backend, at::ScalarType type) {
  return backend != AttentionBackend::kOwn ||
         (type == at::kBFloat16 && ops::avx512bf16::is_supported());
}

}  // namespace

TEST_CASE("every back end takes prefixes of a ring, and gives the log of the sums") {
  at::manual_seed(1);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const auto backend : kCpuBackends) {
      if (!runs(backend, type)) continue;
      for (const auto [l, s, d] :
           {std::array<int64_t, 3>{1, 1, 8}, {130, 77, 64}, {97, 300, 128}, {20, 513, 40}}) {
        CAPTURE(ops::attention_name(backend), static_cast<int>(type), l, s, d);
        const at::Tensor q = at::randn({3, l, d}).to(type);
        const at::Tensor k = at::randn({3, s, d}).to(type);
        const at::Tensor v = at::randn({3, s, d}).to(type);
        const at::Tensor lse = at::full({3, l}, NAN);
        const at::Tensor got =
            ops::cpu_attention({q, in_ring(k, 40), in_ring(v, 11), {}, {}, {}}, backend, lse);
        const Truth want = truth(q, k, v);
        const double allowed = type == at::kFloat ? 2e-5 : 2e-2;
        CHECK(mismatch(got.to(at::kDouble), want.out, {allowed, allowed}) == "");
        CHECK(mismatch(lse.to(at::kDouble), want.lse, {2e-5, 2e-5}) == "");
        CHECK(mismatch(got, ops::attention(q, k, v, {}, backend), {}) == "");
      }
    }
  }
}

TEST_CASE("a cache without int8 keys is plain attention") {
  at::manual_seed(2);
  const at::Tensor q = at::randn({2, 30, 64});
  const at::Tensor k = at::randn({2, 50, 64});
  const at::Tensor got = ops::cached_attention(q, in_ring(k, 14), in_ring(k, 14), nullptr);
  CHECK(mismatch(got, ops::attention(q, k, k), {}) == "");
  const ops::Int8KeyValues empty{at::empty({2, 0, 64}, at::kChar), at::empty({2, 0, 64}, at::kChar),
                                 at::empty({2, 0, 1}, at::kHalf), at::empty({2, 0, 1}, at::kHalf)};
  CHECK(mismatch(ops::cached_attention(q, k, k, &empty), got, {}) == "");
}

TEST_CASE("int8 keys: half a level of error, zeros stay, and what is not finite shows") {
  at::manual_seed(3);
  CHECK(ops::kv_scale_groups(128) == 2);
  CHECK(ops::kv_scale_groups(64) == 1);
  CHECK(ops::kv_scale_groups(24) == 1);
  CHECK(ops::kv_scale_groups(96) == 2);  // of 48
  CHECK(ops::kv_scale_groups(1) == 1);
  for (const int64_t d : {8, 64, 96, 128}) {
    at::Tensor x = at::randn({2, 37, d}) * 3;
    x.select(1, 5).zero_();
    x.select(1, 6).mul_(1e-9);  // below what fp16 can scale
    const Quantised q(x);
    const at::Tensor step =
        q.scale.to(at::kFloat).repeat_interleave(d / ops::kv_scale_groups(d), 2);
    CHECK(((q.wide() - x).abs() <= step * 0.53 + 1e-8).all().item<bool>());
    CHECK(q.values.select(1, 5).eq(0).all().item<bool>());
    CHECK(q.wide().select(1, 5).eq(0).all().item<bool>());
    CHECK(q.values.abs().max().item<int64_t>() == 127);
    for (const double bad : {NAN, INFINITY}) {
      x[1][7][3] = bad;
      const Quantised broken(x);
      CHECK(!broken.wide()[1][7].isfinite().all().item<bool>());
      CHECK(broken.wide()[0].isfinite().all().item<bool>());
    }
  }
}

TEST_CASE("16-bit and int8 keys under one softmax: the truth over what the cache holds") {
  at::manual_seed(4);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const auto backend : kCpuBackends) {
      if (!runs(backend, type)) continue;
      for (const auto [n, l, s16, s8, d] : {std::array<int64_t, 5>{1, 1, 1, 1, 8},
                                            {3, 70, 33, 130, 64},
                                            {2, 100, 0, 65, 128},
                                            {2, 9, 20, 700, 24}}) {
        CAPTURE(ops::attention_name(backend), static_cast<int>(type), n, l, s16, s8, d);
        const at::Tensor q = at::randn({n, l, d}).to(type);
        const at::Tensor k16 = at::randn({n, s16, d}).to(type);
        const at::Tensor v16 = at::randn({n, s16, d}).to(type);
        const Quantised k8(at::randn({n, s8, d}).to(type));
        const Quantised v8(at::randn({n, s8, d}).to(type));
        const ops::Int8KeyValues window{k8.values, v8.values, k8.scale, v8.scale};
        const at::Tensor got =
            ops::cached_attention(q, in_ring(k16, 5), in_ring(v16, 5), &window, backend);
        const Truth want = truth(q, at::cat({k16.to(at::kFloat), k8.wide()}, 1),
                                 at::cat({v16.to(at::kFloat), v8.wide()}, 1));
        const double allowed = type == at::kFloat ? 3e-5 : 3e-2;
        CHECK(got.scalar_type() == type);
        CHECK(mismatch(got.to(at::kDouble), want.out, {allowed, allowed}) == "");
      }
    }
  }
}

TEST_CASE("int8 keys go through in tiles, and large scores merge") {
  at::manual_seed(5);
  // 16 heads of 128 channels in fp32: tiles of 512 keys.
  const at::Tensor q = at::randn({16, 5, 128}) * 12;
  const at::Tensor x = at::randn({16, 1400, 128});
  const Quantised k(x);
  const Quantised v(at::randn({16, 1400, 128}));
  const ops::Int8KeyValues window{k.values, v.values, k.scale, v.scale};
  const at::Tensor none = at::empty({16, 0, 128});
  const at::Tensor got = ops::cached_attention(q, none, none, &window);
  CHECK(mismatch(got.to(at::kDouble), truth(q, k.wide(), v.wide()).out, {1e-4, 1e-4}) == "");
  // A key whose score is above all others by hundreds, in the last tile.
  at::Tensor far = x.clone();
  far.select(1, 1399).copy_(q.select(1, 2) * 5);
  const Quantised peaked(far);
  const ops::Int8KeyValues other{peaked.values, v.values, peaked.scale, v.scale};
  const at::Tensor peak = ops::cached_attention(q, none, none, &other);
  CHECK(mismatch(peak.to(at::kDouble), truth(q, peaked.wide(), v.wide()).out, {1e-4, 1e-4}) == "");
}

TEST_CASE("int8 keys cost little accuracy") {
  at::manual_seed(6);
  const at::Tensor q = wan_like(4, 60, 128, false);
  const at::Tensor k = wan_like(4, 500, 128, true);
  const at::Tensor v = at::randn({4, 500, 128});
  const Quantised k8(k);
  const Quantised v8(v);
  const ops::Int8KeyValues window{k8.values, v8.values, k8.scale, v8.scale};
  const at::Tensor got = ops::cached_attention(q, k.narrow(1, 0, 0), v.narrow(1, 0, 0), &window);
  CHECK(cosine(got, truth(q, k, v).out) >= 0.999);
}

TEST_CASE("own-int8 follows attention, and taking off the keys' mean is what makes it") {
  at::manual_seed(7);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const auto [n, l, s, d] : {std::array<int64_t, 4>{2, 130, 700, 128},
                                    {1, 1, 1, 8},
                                    {3, 33, 65, 64},
                                    {2, 15, 63, 40}}) {
      CAPTURE(static_cast<int>(type), n, l, s, d);
      const at::Tensor q = wan_like(n, l, d, false).to(type);
      const at::Tensor k = wan_like(n, s, d, true).to(type);
      const at::Tensor v = at::randn({n, s, d}).to(type);
      const Truth want = truth(q, k, v);
      const at::Tensor got = ops::attention(q, k, v, {}, AttentionBackend::kOwnInt8);
      CHECK(got.scalar_type() == type);
      CHECK(cosine(got, want.out) >= 0.9995);
      const at::Tensor lse = at::full({n, l}, NAN);
      const at::Tensor again =
          ops::cpu_attention({q, k, v, {}, {}, {}}, AttentionBackend::kOwnInt8, lse);
      CHECK(mismatch(again, got, {}) == "");
      CHECK(testing::max_error(lse, want.lse) <= 5e-2);
      if (s == 1) continue;
      const at::Tensor rough = ops::reference::attention_int8({q, k, v, {}, {}, {}}, {},
                                                              ops::reference::KeySmoothing::kNone);
      const auto error = [&](const at::Tensor& x) { return 1 - cosine(x, want.out); };
      CHECK(error(rough) > 3 * error(got));
    }
  }
}

TEST_CASE("own-int8: equal and constant operands; a bias makes it 16-bit") {
  at::manual_seed(8);
  const at::Tensor v = at::randn({2, 70, 64});
  for (const double value : {0.0, 3.0}) {
    const at::Tensor q = at::full({2, 20, 64}, value);
    const at::Tensor k = at::full({2, 70, 64}, value);
    const at::Tensor got = ops::attention(q, k, v, {}, AttentionBackend::kOwnInt8);
    CHECK(mismatch(got.to(at::kDouble), truth(q, k, v).out, {1e-5, 1e-5}) == "");
  }
  const at::Tensor q = at::randn({2, 20, 64});
  const at::Tensor k = at::randn({2, 70, 64});
  const at::Tensor bias = at::randn({70});
  CHECK(mismatch(ops::attention(q, k, v, bias, AttentionBackend::kOwnInt8),
                 ops::attention(q, k, v, bias), {}) == "");
  CHECK_NOTHROW(ops::require_attention(AttentionBackend::kOwnInt8, at::kCPU, at::kFloat, 40));
}

TEST_CASE("own-int8's groups: half a level of error, tail groups, zeros") {
  at::manual_seed(9);
  at::Tensor x = at::randn({2, 37, 24});
  x.narrow(1, 0, 16).zero_();
  const auto q = ops::reference::quantise_heads(x, {}, 16);
  CHECK(q.scale.sizes() == at::IntArrayRef({2, 3}));
  CHECK(q.values.narrow(1, 0, 16).eq(0).all().item<bool>());
  const at::Tensor step = q.scale.repeat_interleave(16, 1).narrow(1, 0, 37).unsqueeze(-1);
  CHECK(((q.values.to(at::kFloat) * step - x).abs() <= step * 0.501).all().item<bool>());
  CHECK(q.values.abs().amax({0, 2}).narrow(0, 16, 21).max().item<int64_t>() == 127);
}
