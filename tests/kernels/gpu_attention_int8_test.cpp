// Int8 attention and int8 caches on the device, against fp64 and against the composed twins.
// Without a device this program says SKIPPED.
#include <array>
#include <cmath>

#include "gpu_attention_check.h"
#include "ops/attention.h"
#include "ops/attention_int8_reference.h"
#include "ops/attention_reference.h"
#include "ops/kv_attention.h"
#include "t2v/error.h"

namespace {

using namespace t2v;
using namespace t2v::testing;
using ops::AttentionBackend;
using ops::AttentionInputs;

// As after RMSNorm: rows of norm sqrt(D); keys with a few channels in which all are large alike.
at::Tensor wan_like(int64_t heads, int64_t rows, int64_t head_size, bool outliers) {
  at::Tensor x = normal({heads, rows, head_size});
  if (outliers) {
    x.narrow(2, 3, 2).add_(9.0);
    x.narrow(2, head_size - 5, 1).sub_(14.0);
  }
  return x / x.square().mean(-1, true).sqrt() * 1.2;
}

AttentionInputs make(int64_t heads, int64_t queries, int64_t keys, int64_t head_size,
                     at::ScalarType type) {
  return {wan_like(heads, queries, head_size, false).to(type),
          wan_like(heads, keys, head_size, true).to(type),
          normal({heads, keys, head_size}).to(type),
          {},
          {},
          {}};
}

at::Tensor truth(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return ops::reference::attention(
      {q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble), {}, {}, {}});
}

at::Tensor own_int8(const AttentionInputs& in) {
  return ops::attention(in.q, in.k, in.v, {}, AttentionBackend::kOwnInt8);
}

// Rows `spare` longer than x, the rest never to be read.
at::Tensor in_ring(const at::Tensor& x, int64_t spare) {
  const at::Tensor ring = at::full({x.size(0), x.size(1) + spare, x.size(2)}, NAN, x.options());
  at::Tensor prefix = ring.narrow(1, 0, x.size(1));
  prefix.copy_(x);
  return prefix;
}

struct Cache {
  at::Tensor values, scale;

  Cache(const at::Tensor& x, int64_t spare) {
    const auto options = x.options();
    values = at::full({x.size(0), x.size(1) + spare, x.size(2)}, 99, options.dtype(at::kChar))
                 .narrow(1, 0, x.size(1));
    scale = at::full({x.size(0), x.size(1) + spare, ops::kv_scale_groups(x.size(2))}, NAN,
                     options.dtype(at::kHalf))
                .narrow(1, 0, x.size(1));
    ops::quantise_keys(x, values, scale);
  }
  [[nodiscard]] at::Tensor wide() const { return ops::expand_keys(values, scale, at::kFloat); }
};

}  // namespace

TEST_CASE("own-int8 on the device: the twin's result, close to attention, on odd sizes") {
  if (!support::have_gpu()) return;
  for (const at::ScalarType type : kNarrow) {
    for (const int64_t d : {64, 128}) {
      for (const auto [n, l, s] : {std::array<int64_t, 3>{1, 1, 1},
                                   {2, 127, 63},
                                   {3, 129, 65},
                                   {2, 128, 64},
                                   {2, 257, 513},
                                   {5, 77, 1300}}) {
        if (support::tiny_shapes_only() && l * s > 20000) continue;
        CAPTURE(static_cast<int>(type), d, n, l, s);
        const AttentionInputs in = make(n, l, s, d, type);
        const at::Tensor got = own_int8(in);
        CHECK(at::equal(got, own_int8(in)));
        CHECK(cosine(got, truth(in.q, in.k, in.v)) >= 0.9995);
        // The mean's last bit may move a key's level by one.
        const at::Tensor twin = ops::reference::attention_int8(in).to(at::kDouble);
        CHECK(cosine(got, twin) >= 0.99999);
        CHECK(error_of(got, twin) <= 4 * unit(twin, type) + 2e-2);
      }
    }
  }
}

TEST_CASE("own-int8 on the device takes views, constants, zeros and large scores") {
  if (!support::have_gpu()) return;
  AttentionInputs in = make(3, 90, 150, 128, at::kBFloat16);
  const at::Tensor plain = own_int8(in);
  AttentionInputs view = in;
  view.q = in.q.transpose(0, 1).contiguous().transpose(0, 1);
  view.k = in_ring(in.k, 33);
  view.v = in_ring(in.v, 7);
  CHECK(at::equal(own_int8(view), plain));
  for (const double factor : {0.0, 30.0}) {
    AttentionInputs scaled = in;
    scaled.q = in.q * factor;
    const at::Tensor want = ops::reference::attention_int8(scaled).to(at::kDouble);
    CHECK(cosine(own_int8(scaled), want) >= 0.9999);
  }
  AttentionInputs equal = in;
  equal.k = at::full_like(in.k, 2.0);
  CHECK(error_of(own_int8(equal), truth(equal.q, equal.k, equal.v)) <=
        2 * unit(truth(equal.q, equal.k, equal.v), at::kBFloat16));
}

TEST_CASE("own-int8 on the device: what it cannot run is refused, a bias makes it own") {
  if (!support::have_gpu()) return;
  const at::Device device(at::kCUDA, 0);
  CHECK_NOTHROW(ops::require_attention(AttentionBackend::kOwnInt8, device, at::kBFloat16, 128));
  CHECK_THROWS_AS(ops::require_attention(AttentionBackend::kOwnInt8, device, at::kFloat, 128),
                  Error);
  CHECK_THROWS_AS(ops::require_attention(AttentionBackend::kOwnInt8, device, at::kBFloat16, 96),
                  Error);
  const AttentionInputs in = make(2, 50, 60, 128, at::kBFloat16);
  const at::Tensor bias = normal({60});
  CHECK(at::equal(ops::attention(in.q, in.k, in.v, bias, AttentionBackend::kOwnInt8),
                  ops::attention(in.q, in.k, in.v, bias, AttentionBackend::kOwn)));
}

TEST_CASE("own-int8 at real sizes: sampled rows against fp64") {
  if (!support::have_gpu() || support::tiny_shapes_only()) return;
  for (const int64_t tokens : {32760, 75600}) {
    CAPTURE(tokens);
    const AttentionInputs in = make(8, tokens, tokens, 128, at::kBFloat16);
    const at::Tensor got = own_int8(in);
    CHECK(got.isfinite().all().item<bool>());
    for (const int64_t row : {int64_t{0}, tokens / 2 - 3, tokens - 7}) {
      const at::Tensor want = truth(in.q.narrow(1, row, 7), in.k, in.v);
      CHECK(cosine(got.narrow(0, row, 7), want) >= 0.999);
    }
  }
}

TEST_CASE("a cache on the device: 16-bit and int8 keys under one softmax") {
  if (!support::have_gpu()) return;
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (const int64_t d : {64, 96, 128}) {
      for (const auto [n, l, s16, s8] : {std::array<int64_t, 4>{1, 1, 1, 1},
                                         {3, 130, 33, 130},
                                         {2, 70, 0, 65},
                                         {2, 257, 190, 700}}) {
        if (support::tiny_shapes_only() && (d == 96 || l * s8 > 20000)) continue;
        CAPTURE(static_cast<int>(type), d, n, l, s16, s8);
        const at::Tensor q = normal({n, l, d}).to(type);
        const at::Tensor k16 = normal({n, s16, d}).to(type);
        const at::Tensor v16 = normal({n, s16, d}).to(type);
        const Cache k8(normal({n, s8, d}).to(type), 13);
        const Cache v8(normal({n, s8, d}).to(type), 13);
        const ops::Int8KeyValues window{k8.values, v8.values, k8.scale, v8.scale};
        const at::Tensor want = truth(q, at::cat({k16.to(at::kFloat), k8.wide()}, 1),
                                      at::cat({v16.to(at::kFloat), v8.wide()}, 1));
        for (const auto backend :
             {AttentionBackend::kAuto, AttentionBackend::kOwnInt8, AttentionBackend::kReference}) {
          const at::Tensor got =
              ops::cached_attention(q, in_ring(k16, 5), in_ring(v16, 5), &window, backend);
          const double rounding = type == at::kFloat ? 1e-4 : 4 * unit(want, type);
          CHECK(got.scalar_type() == type);
          CHECK(error_of(got, want) <= rounding);
        }
      }
    }
  }
}

TEST_CASE("a cache on the device: the same bits twice, and no window is plain attention") {
  if (!support::have_gpu()) return;
  const AttentionInputs in = make(4, 200, 300, 128, at::kBFloat16);
  const Cache k(in.k, 0);
  const Cache v(in.v, 0);
  const ops::Int8KeyValues window{k.values, v.values, k.scale, v.scale};
  const auto run = [&] {
    return ops::cached_attention(in.q, in.k, in.v, &window, AttentionBackend::kOwn);
  };
  CHECK(at::equal(run(), run()));
  CHECK(at::equal(ops::cached_attention(in.q, in.k, in.v, nullptr, AttentionBackend::kOwn),
                  ops::attention(in.q, in.k, in.v, {}, AttentionBackend::kOwn)));
}
