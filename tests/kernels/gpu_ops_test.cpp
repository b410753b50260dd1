// The row kernels of the CUDA back end against the composed twins. Without a device this program
// says SKIPPED (ctest counts it as skipped); T2V_REQUIRE_GPU=1 makes that a failure.
#include "gpu_check.h"
#include "ops/norm.h"
#include "ops/rope.h"

namespace {

using namespace t2v::testing;
using t2v::ops::QkvHeads;
using t2v::ops::RopeTables;

constexpr double kEps = 1e-6;

at::Tensor normal64(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor centred = wide - wide.mean(-1, true);
  return centred / (centred.square().mean(-1, true) + kEps).sqrt();
}

at::Tensor rms64(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kDouble);
  return wide / (wide.square().mean(-1, true) + kEps).sqrt();
}

struct Size {
  int64_t rows;
  int64_t columns;
};

constexpr Size kSizes[] = {{1, 1},     {3, 7},    {5, 96},    {33, 520},
                           {17, 1536}, {9, 5121}, {4, 16384}, {32760, 5120}};

bool too_large(const Size& size) {
  return t2v::support::tiny_shapes_only() && size.rows * size.columns > 50000;
}

// fp64 truth [N, L, D] of one rotated part.
at::Tensor rope64(const at::Tensor& part, const at::Tensor& norm, const RopeTables& rope,
                  int64_t num_heads) {
  const int64_t f = rope.frames;
  const int64_t h = rope.height;
  const int64_t w = rope.width;
  const auto expand = [&](const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) {
    return at::cat({a.view({f, 1, 1, -1}).expand({f, h, w, a.size(1)}),
                    b.view({1, h, 1, -1}).expand({f, h, w, b.size(1)}),
                    c.view({1, 1, w, -1}).expand({f, h, w, c.size(1)})},
                   -1)
        .reshape({f * h * w, 1, -1})
        .to(at::kDouble);
  };
  const at::Tensor cos = expand(rope.cos_frame, rope.cos_row, rope.cos_column);
  const at::Tensor sin = expand(rope.sin_frame, rope.sin_row, rope.sin_column);
  const at::Tensor x = (rms64(part) * norm.to(at::kDouble)).reshape({f * h * w, num_heads, -1, 2});
  const at::Tensor x0 = x.select(-1, 0);
  const at::Tensor x1 = x.select(-1, 1);
  return at::stack({x0 * cos - x1 * sin, x0 * sin + x1 * cos}, -1).flatten(-2).transpose(0, 1);
}

QkvHeads poisoned_heads(const at::Tensor& qkv, int64_t num_heads, int64_t num_tokens) {
  const QkvHeads heads = t2v::ops::empty_heads(qkv, num_heads, num_tokens);
  for (const at::Tensor* part : {&heads.q, &heads.k, &heads.v}) part->fill_(NAN);
  return heads;
}

}  // namespace

TEST_CASE("layer_norm_modulate and layer_norm on the device agree with their twins") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& size : kSizes) {
    if (too_large(size)) continue;
    for (const at::ScalarType in : kFloatTypes) {
      for (const at::ScalarType out : kFloatTypes) {
        if (size.rows > 1000 && (in != at::kFloat || out != at::kBFloat16)) continue;
        CAPTURE(size.rows, size.columns, static_cast<int>(in), static_cast<int>(out));
        const at::Tensor x = (normal({size.rows, size.columns}) + 0.5).to(in);
        const at::Tensor a = normal({size.columns});
        const at::Tensor b = normal({size.columns});
        const at::Tensor unit = normal64(x);
        for (const at::Tensor& input : {x, misaligned(x)}) {
          check_error(fused().layer_norm_modulate(input, a, b, kEps, out),
                      twin().layer_norm_modulate(x, a, b, kEps, out),
                      unit * (1 + a.to(at::kDouble)) + b);
          check_error(fused().layer_norm(input, a, b, kEps, out),
                      twin().layer_norm(x, a, b, kEps, out), unit * a + b);
        }
      }
    }
  }
}

TEST_CASE("rms_norm on the device agrees with its twin") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& size : kSizes) {
    if (too_large(size)) continue;
    for (const at::ScalarType type : kFloatTypes) {
      CAPTURE(size.rows, size.columns, static_cast<int>(type));
      const at::Tensor x = normal({size.rows, size.columns}).to(type);
      const at::Tensor weight = normal({size.columns}) + 1;
      const at::Tensor low = twin().rms_norm(x, weight, kEps);
      const at::Tensor truth = rms64(x) * weight;
      for (const at::Tensor& input : {x, misaligned(x)})
        check_error(fused().rms_norm(input, weight, kEps), low, truth);
    }
  }
}

TEST_CASE("qk_norm_rope on the device agrees with its twin, in pieces too") {
  if (!t2v::support::have_gpu()) return;
  struct Case {
    int64_t frames, height, width, num_heads, head_size;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 2}, Case{2, 3, 5, 3, 10}, Case{3, 2, 2, 4, 16},
                        Case{5, 7, 3, 12, 128}, Case{9, 30, 52, 40, 128}}) {
    const RopeTables rope =
        t2v::ops::make_rope_tables(c.frames, c.height, c.width, c.head_size, at::kCUDA);
    const int64_t columns = c.num_heads * c.head_size;
    if (too_large({rope.num_tokens(), 3 * columns})) continue;
    for (const at::ScalarType type : kFloatTypes) {
      CAPTURE(c.frames, c.height, c.width, c.num_heads, c.head_size, static_cast<int>(type));
      const at::Tensor qkv = normal({rope.num_tokens(), 3 * columns}).to(type);
      const at::Tensor norm_q = normal({columns}) + 1;
      const at::Tensor norm_k = normal({columns}) + 1;
      const QkvHeads low = poisoned_heads(qkv, c.num_heads, rope.num_tokens());
      twin().qk_norm_rope(
          {.qkv = qkv, .norm_q = norm_q, .norm_k = norm_k, .rope = &rope, .eps = kEps}, low);
      const auto parts = qkv.chunk(3, 1);
      for (const at::Tensor& input : {qkv, misaligned(qkv)}) {
        const QkvHeads got = poisoned_heads(qkv, c.num_heads, rope.num_tokens());
        const int64_t half = rope.num_tokens() / 2;
        for (const int64_t first : {half, int64_t{0}}) {
          const int64_t rows = first == half ? rope.num_tokens() - half : half;
          fused().qk_norm_rope({.qkv = input.narrow(0, first, rows),
                                .norm_q = norm_q,
                                .norm_k = norm_k,
                                .rope = &rope,
                                .first_token = first,
                                .eps = kEps},
                               got);
        }
        check_error(got.q, low.q, rope64(parts[0], norm_q, rope, c.num_heads));
        check_error(got.k, low.k, rope64(parts[1], norm_k, rope, c.num_heads));
        CHECK(at::equal(got.v, low.v));
      }
    }
  }
}

TEST_CASE("gate_residual_ and gate_residual_norm_ on the device agree with their twins") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& size : kSizes) {
    if (too_large(size)) continue;
    for (const at::ScalarType type : kFloatTypes) {
      CAPTURE(size.rows, size.columns, static_cast<int>(type));
      const at::Tensor x = normal({size.rows, size.columns});
      const at::Tensor branch = normal({size.rows, size.columns}).to(type);
      const t2v::ops::RowNorm modulate{.a = normal({size.columns}), .b = normal({size.columns})};
      const t2v::ops::RowNorm affine{
          .kind = t2v::ops::NormKind::kAffine, .a = modulate.a, .b = modulate.b};
      for (const at::Tensor& gate : {normal({size.columns}), at::Tensor()}) {
        at::Tensor low = x.clone();
        twin().gate_residual_(low, branch, gate);
        const at::Tensor wide = branch.to(at::kDouble);
        const at::Tensor truth = x.to(at::kDouble) + (gate.defined() ? wide * gate : wide);
        for (const bool odd : {false, true}) {
          at::Tensor sum = odd ? misaligned(x) : x.clone();
          fused().gate_residual_(sum, odd ? misaligned(branch) : branch, gate);
          check_error(sum, low, truth);
          for (const t2v::ops::RowNorm& norm : {modulate, affine}) {
            at::Tensor low_sum = x.clone();
            const at::Tensor low_norm =
                twin().gate_residual_norm_(low_sum, branch, gate, norm, kEps, type);
            at::Tensor fused_sum = odd ? misaligned(x) : x.clone();
            const at::Tensor got = fused().gate_residual_norm_(
                fused_sum, odd ? misaligned(branch) : branch, gate, norm, kEps, type);
            CHECK(at::equal(fused_sum, sum));
            const double offset = norm.kind == t2v::ops::NormKind::kModulate ? 1 : 0;
            check_error(got, low_norm,
                        normal64(truth) * (offset + norm.a.to(at::kDouble)) + norm.b);
          }
        }
      }
    }
  }
}

TEST_CASE("layer_norm_quantise on the device agrees with its twin") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& size :
       {Size{1, 8}, Size{3, 64}, Size{5, 256}, Size{17, 1536}, Size{4, 16384}, Size{32760, 5120}}) {
    if (too_large(size)) continue;
    for (const int64_t group : {0, 4, 16, 64, 256}) {
      if (group > 0 && size.columns % group != 0) continue;
      for (const at::ScalarType type : kFloatTypes) {
        if (size.rows > 1000 && type != at::kFloat) continue;
        CAPTURE(size.rows, size.columns, group, static_cast<int>(type));
        const at::Tensor x = (normal({size.rows, size.columns}) + 0.5).to(type);
        const t2v::ops::RowNorm norm{.a = normal({size.columns}), .b = normal({size.columns})};
        const auto low = twin().layer_norm_quantise(x, norm, kEps, group);
        const auto got = fused().layer_norm_quantise(x, norm, kEps, group);
        CHECK(((got.row_scale - low.row_scale).abs() <= 2e-5 * low.row_scale).all().item<bool>());
        // Where the twin's value lies next to a half, the neighbour is right too.
        const at::Tensor apart = (got.values.to(at::kInt) - low.values.to(at::kInt)).abs();
        CHECK(apart.max().item<int>() <= 1);
        CHECK(apart.sum().item<int64_t>() <= 2 + x.numel() / 500);
      }
    }
  }
}

TEST_CASE("the same input gives the same bits") {
  if (!t2v::support::have_gpu()) return;
  const int64_t rows = t2v::support::tiny_shapes_only() ? 5 : 1000;
  const at::Tensor x = normal({rows, 5120});
  const at::Tensor weight = normal({5120});
  CHECK(at::equal(fused().rms_norm(x, weight, kEps), fused().rms_norm(x, weight, kEps)));
  at::Tensor first = x.clone();
  at::Tensor second = x.clone();
  const t2v::ops::RowNorm norm{.a = weight, .b = weight};
  CHECK(at::equal(fused().gate_residual_norm_(first, x, weight, norm, kEps, at::kBFloat16),
                  fused().gate_residual_norm_(second, x, weight, norm, kEps, at::kBFloat16)));
  CHECK(at::equal(first, second));
}
