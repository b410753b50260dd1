// Attention on the device: our kernel and LibTorch's against fp64. Our own may err at most twice as
// much as LibTorch's flash attention (rounding of the weights and of the output is the same), plus
// fp32 rounding. Without a device this program says SKIPPED.
#include <c10/util/Exception.h>

#include "gpu_attention_check.h"
#include "ops/attention.h"
#include "ops/attention_choice.h"
#include "ops/attention_reference.h"
#include "ops/device.h"
#include "t2v/error.h"

namespace {

using namespace t2v;
using namespace t2v::testing;
using ops::AttentionBackend;
using ops::AttentionInputs;

AttentionInputs make(int64_t heads, int64_t queries, int64_t keys, int64_t head_size,
                     at::ScalarType type) {
  return {normal({heads, queries, head_size}).to(type),
          normal({heads, keys, head_size}).to(type),
          normal({heads, keys, head_size}).to(type),
          {},
          {},
          {}};
}

at::Tensor truth(const AttentionInputs& in) {
  AttentionInputs wide = in;
  wide.q = in.q.to(at::kDouble);
  wide.k = in.k.to(at::kDouble);
  wide.v = in.v.to(at::kDouble);
  return ops::reference::attention(wide, ops::reference::block_mask(in));
}

at::Tensor run(const AttentionInputs& in, AttentionBackend backend) {
  return ops::attention(in.q, in.k, in.v, in.key_bias, backend);
}

// A list for every query block: uniformly random, with the block's own keys.
void add_random_lists(AttentionInputs& in, int64_t heads, double density) {
  const int64_t rows = (in.q.size(1) + 127) / 128;
  const int64_t blocks = (in.k.size(1) + 63) / 64;
  const at::Tensor mask = at::rand({heads, rows, blocks}).lt(density);
  const auto own = at::arange(rows).remainder(blocks).view({1, rows, 1}).expand({heads, rows, 1});
  const at::Tensor visited = mask.scatter(2, own, true);
  // Numbers of visited blocks first, ascending; the rest is never to be read.
  const at::Tensor numbers = at::where(visited, at::arange(blocks), 1 << 30);
  in.lut = std::get<0>(numbers.sort(-1)).to(at::kInt).to(at::kCUDA);
  in.counts = visited.sum(-1).to(at::kInt).to(at::kCUDA);
}

}  // namespace

TEST_CASE("own attention on the device follows its definition on odd sizes") {
  if (!support::have_gpu()) return;
  for (const at::ScalarType type : kNarrow) {
    for (const int64_t d : {64, 128}) {
      for (const auto [n, l, s] : {std::array<int64_t, 3>{1, 1, 1},
                                   {2, 127, 63},
                                   {3, 129, 65},
                                   {2, 128, 64},
                                   {1, 300, 21},
                                   {2, 257, 513},
                                   {5, 77, 1000}}) {
        if (support::tiny_shapes_only() && l * s > 20000) continue;
        CAPTURE(static_cast<int>(type), d, n, l, s);
        const AttentionInputs in = make(n, l, s, d, type);
        const at::Tensor want = truth(in);
        const double allowed =
            2 * error_of(run(in, AttentionBackend::kFlash), want) + 0.5 * unit(want, type);
        CHECK(error_of(run(in, AttentionBackend::kOwn), want) <= allowed);
      }
    }
  }
}

TEST_CASE("own attention on the device takes views, and a bias per key") {
  if (!support::have_gpu()) return;
  for (const at::ScalarType type : kNarrow) {
    AttentionInputs in = make(3, 90, 70, 128, type);
    const at::Tensor plain = run(in, AttentionBackend::kOwn);
    AttentionInputs view = in;
    view.q = in.q.transpose(0, 1).contiguous().transpose(0, 1);  // [L, N, D] seen as [N, L, D]
    CHECK(at::equal(run(view, AttentionBackend::kOwn), plain));
    const at::Tensor odd = at::full({3 * 70 * 128 + 1}, NAN, in.k.options());
    view.k = odd.narrow(0, 1, 3 * 70 * 128).view({3, 70, 128});  // not aligned to 16 bytes
    view.k.copy_(in.k);
    CHECK(at::equal(run(view, AttentionBackend::kOwn), plain));

    in.key_bias = normal({70}) * 3;
    const at::Tensor want = truth(in);
    CHECK(error_of(run(in, AttentionBackend::kOwn), want) <= 2 * unit(want, type));
    // The rule of ops/attention.h: with a bias, cudnn and flash give way to own.
    for (const auto backend :
         {AttentionBackend::kAuto, AttentionBackend::kCudnn, AttentionBackend::kFlash})
      CHECK(at::equal(run(in, backend), run(in, AttentionBackend::kOwn)));
    CHECK(error_of(run(in, AttentionBackend::kReference), want) <= unit(want, type));
  }
}

TEST_CASE("own attention on the device: full lists give the same bits, random lists the truth") {
  if (!support::have_gpu()) return;
  for (const at::ScalarType type : kNarrow) {
    for (const int64_t d : {64, 128}) {
      for (const int64_t heads : {1, 2}) {
        AttentionInputs in = make(2, 300, 470, d, type);
        const at::Tensor dense = fused().attention(in);
        add_random_lists(in, heads, 2.0);  // every block
        CHECK(at::equal(fused().attention(in), dense));
        for (const double density : {0.0, 0.4}) {
          CAPTURE(static_cast<int>(type), d, heads, density);
          add_random_lists(in, heads, density);
          const at::Tensor want = truth(in);
          const at::Tensor got = fused().attention(in);
          CHECK(cosine(got, want) > 0.9999);
          CHECK(error_of(got, want) <= 2 * unit(want, type));
        }
      }
    }
  }
}

TEST_CASE("attention on the device copes with large and equal scores") {
  if (!support::have_gpu()) return;
  for (const double factor : {0.0, 40.0}) {
    AttentionInputs in = make(2, 70, 150, 128, at::kBFloat16);
    in.q.mul_(factor);
    const at::Tensor want = truth(in);
    const double allowed =
        2 * error_of(run(in, AttentionBackend::kFlash), want) + unit(want, at::kBFloat16);
    CHECK(error_of(run(in, AttentionBackend::kOwn), want) <= allowed);
  }
}

TEST_CASE("every named back end can be reached, and fp32 has its own") {
  if (!support::have_gpu()) return;
  const at::Device device(at::kCUDA, 0);
  for (const auto backend :
       {AttentionBackend::kAuto, AttentionBackend::kCudnn, AttentionBackend::kFlash,
        AttentionBackend::kOwn, AttentionBackend::kReference}) {
    CAPTURE(ops::attention_name(backend));
    for (const at::ScalarType type : kNarrow) {
      REQUIRE_NOTHROW(ops::require_attention(backend, device, type, 128));
      const AttentionInputs in = make(4, 256, 256, 128, type);
      const at::Tensor want = truth(in);
      CHECK(error_of(run(in, backend), want) <= 3 * unit(want, type));
    }
    const AttentionInputs in = make(2, 100, 130, 128, at::kFloat);
    const bool can = backend == AttentionBackend::kAuto || backend == AttentionBackend::kReference;
    if (can) {
      CHECK(error_of(run(in, backend), truth(in)) <= 2e-4);
    } else {
      CHECK_THROWS_AS(ops::require_attention(backend, device, at::kFloat, 128), Error);
      CHECK_THROWS_AS(run(in, backend), Error);
    }
  }
}

TEST_CASE("own attention at the largest real sizes: sampled rows against fp64, same bits twice") {
  if (!support::have_gpu() || support::tiny_shapes_only()) return;
  for (const int64_t tokens : {32760, 75600}) {
    CAPTURE(tokens);
    const AttentionInputs in = make(8, tokens, tokens, 128, at::kBFloat16);
    // Memory that the output will take again, full of NaN.
    at::full({tokens, 8 * 128}, NAN, in.q.options());
    const at::Tensor got = run(in, AttentionBackend::kOwn);
    CHECK(at::equal(got, run(in, AttentionBackend::kOwn)));
    CHECK(got.isfinite().all().item<bool>());
    // The first, some in the middle, and the last rows: the tail block.
    for (const int64_t row : {int64_t{0}, tokens / 2 - 3, tokens - 7}) {
      AttentionInputs some = in;
      some.q = in.q.narrow(1, row, 7);
      const at::Tensor want = truth(some);
      const double low = error_of(run(some, AttentionBackend::kFlash), want);
      CHECK(error_of(got.narrow(0, row, 7), want) <= 2 * low + 0.5 * unit(want, at::kBFloat16));
    }
  }
}
