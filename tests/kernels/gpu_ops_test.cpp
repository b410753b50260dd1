// The CUDA back end against the composed twins: the truth is the twin in fp64-wide inputs on the
// CPU; a fused op may err at most twice as much as the twin in the storage type, plus fp32
// rounding. Without a device this program says SKIPPED (ctest counts it as skipped);
// T2V_REQUIRE_GPU=1 makes that a failure.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>
#include <string>

#include "ops/backend.h"
#include "ops/norm.h"
#include "ops/rope.h"

namespace {

using t2v::ops::OpTable;
using t2v::ops::QkvHeads;
using t2v::ops::RopeTables;

constexpr double kEps = 1e-6;
constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kHalf};

// True when the tests can run; loads the back end before ATen is asked about CUDA.
bool have_device() {
  static const bool available = [] {
    if (t2v::ops::count_cuda_devices() == 0) return false;
    t2v::ops::load_cuda_backend();
    return true;
  }();
  if (available) return true;
  const char* required = std::getenv("T2V_REQUIRE_GPU");
  if (required && std::string(required) == "1") FAIL("T2V_REQUIRE_GPU=1, but there is no device");
  std::cout << "SKIPPED: no CUDA device\n";
  return false;
}

const OpTable& fused() { return t2v::ops::op_table(at::DeviceType::CUDA); }
const OpTable& twin() { return t2v::ops::reference_ops(); }

at::Tensor on_gpu(const at::Tensor& x) { return x.to(at::kCUDA); }

// A copy on the device whose rows start at odd elements: offset and stride are one element off.
at::Tensor misaligned(const at::Tensor& x) {
  const at::Tensor wide = at::full({x.size(0), x.size(1) + 1}, NAN, x.options().device(at::kCUDA));
  at::Tensor rows = wide.narrow(1, 1, x.size(1));
  rows.copy_(x);
  return rows;
}

// `low` is the twin's result in the storage type; `truth` is fp64.
void check_error(const at::Tensor& actual, const at::Tensor& low, const at::Tensor& truth) {
  REQUIRE(actual.sizes() == truth.sizes());
  REQUIRE(actual.scalar_type() == low.scalar_type());
  const at::Tensor got = actual.cpu().to(at::kDouble);
  REQUIRE(got.isfinite().all().item<bool>());
  const double error = (got - truth).abs().max().item<double>();
  const double allowed = 2 * (low.to(at::kDouble) - truth).abs().max().item<double>() +
                         2e-6 * (1 + truth.abs().max().item<double>());
  CAPTURE(error, allowed);
  CHECK(error <= allowed);
}

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

RopeTables to_gpu(RopeTables rope) {
  for (at::Tensor* table : {&rope.cos_frame, &rope.sin_frame, &rope.cos_row, &rope.sin_row,
                            &rope.cos_column, &rope.sin_column}) {
    *table = on_gpu(*table);
  }
  return rope;
}

}  // namespace

TEST_CASE("layer_norm_modulate and layer_norm on the device agree with their twins") {
  if (!have_device()) return;
  for (const Size& size : kSizes) {
    for (const at::ScalarType in : kTypes) {
      for (const at::ScalarType out : kTypes) {
        if (size.rows > 1000 && (in != at::kFloat || out != at::kBFloat16)) continue;
        CAPTURE(size.rows, size.columns, static_cast<int>(in), static_cast<int>(out));
        const at::Tensor x = (at::randn({size.rows, size.columns}) + 0.5).to(in);
        const at::Tensor a = at::randn({size.columns});
        const at::Tensor b = at::randn({size.columns});
        const at::Tensor normal = normal64(x);
        const at::Tensor modulated = normal * (1 + a.to(at::kDouble)) + b;
        const at::Tensor affine = normal * a + b;
        const at::Tensor low = twin().layer_norm_modulate(x, a, b, kEps, out);
        for (const at::Tensor& input : {on_gpu(x), misaligned(x)}) {
          check_error(fused().layer_norm_modulate(input, on_gpu(a), on_gpu(b), kEps, out), low,
                      modulated);
          check_error(fused().layer_norm(input, on_gpu(a), on_gpu(b), kEps, out),
                      twin().layer_norm(x, a, b, kEps, out), affine);
        }
      }
    }
  }
}

TEST_CASE("rms_norm on the device agrees with its twin") {
  if (!have_device()) return;
  for (const Size& size : kSizes) {
    for (const at::ScalarType type : kTypes) {
      CAPTURE(size.rows, size.columns, static_cast<int>(type));
      const at::Tensor x = at::randn({size.rows, size.columns}).to(type);
      const at::Tensor weight = at::randn({size.columns}) + 1;
      const at::Tensor low = twin().rms_norm(x, weight, kEps);
      const at::Tensor truth = rms64(x) * weight;
      for (const at::Tensor& input : {on_gpu(x), misaligned(x)}) {
        check_error(fused().rms_norm(input, on_gpu(weight), kEps), low, truth);
      }
    }
  }
}

TEST_CASE("qk_norm_rope on the device agrees with its twin") {
  if (!have_device()) return;
  struct Case {
    int64_t frames, height, width, num_heads, head_size;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 2}, Case{2, 3, 5, 3, 10}, Case{3, 2, 2, 4, 16},
                        Case{5, 7, 3, 12, 128}, Case{9, 30, 52, 40, 128}}) {
    const RopeTables rope =
        t2v::ops::make_rope_tables(c.frames, c.height, c.width, c.head_size, at::kCPU);
    const RopeTables gpu_rope = to_gpu(rope);
    const int64_t columns = c.num_heads * c.head_size;
    for (const at::ScalarType type : kTypes) {
      CAPTURE(c.frames, c.height, c.width, c.num_heads, c.head_size, static_cast<int>(type));
      const at::Tensor qkv = at::randn({rope.num_tokens(), 3 * columns}).to(type);
      const at::Tensor norm_q = at::randn({columns}) + 1;
      const at::Tensor norm_k = at::randn({columns}) + 1;
      const QkvHeads low = twin().qk_norm_rope(qkv, norm_q, norm_k, rope, c.num_heads, kEps);
      const auto parts = qkv.chunk(3, 1);
      for (const at::Tensor& input : {on_gpu(qkv), misaligned(qkv)}) {
        const QkvHeads got = fused().qk_norm_rope(input, on_gpu(norm_q), on_gpu(norm_k), gpu_rope,
                                                  c.num_heads, kEps);
        check_error(got.q, low.q, rope64(parts[0], norm_q, rope, c.num_heads));
        check_error(got.k, low.k, rope64(parts[1], norm_k, rope, c.num_heads));
        CHECK(at::equal(got.v.cpu(), low.v));
      }
    }
  }
}

TEST_CASE("gate_residual_ on the device agrees with its twin") {
  if (!have_device()) return;
  for (const Size& size : kSizes) {
    for (const at::ScalarType type : kTypes) {
      CAPTURE(size.rows, size.columns, static_cast<int>(type));
      const at::Tensor x = at::randn({size.rows, size.columns});
      const at::Tensor branch = at::randn({size.rows, size.columns}).to(type);
      for (const at::Tensor& gate : {at::randn({size.columns}), at::Tensor()}) {
        at::Tensor low = x.clone();
        twin().gate_residual_(low, branch, gate);
        const at::Tensor wide = branch.to(at::kDouble);
        const at::Tensor truth = x.to(at::kDouble) + (gate.defined() ? wide * gate : wide);
        const at::Tensor gpu_gate = gate.defined() ? on_gpu(gate) : gate;
        at::Tensor aligned_x = on_gpu(x);
        fused().gate_residual_(aligned_x, on_gpu(branch), gpu_gate);
        check_error(aligned_x, low, truth);
        at::Tensor odd_x = misaligned(x);
        fused().gate_residual_(odd_x, misaligned(branch), gpu_gate);
        check_error(odd_x, low, truth);
      }
    }
  }
}

TEST_CASE("the same input gives the same bits") {
  if (!have_device()) return;
  const at::Tensor x = on_gpu(at::randn({1000, 5120}));
  const at::Tensor weight = on_gpu(at::randn({5120}));
  CHECK(at::equal(fused().rms_norm(x, weight, kEps), fused().rms_norm(x, weight, kEps)));
}
