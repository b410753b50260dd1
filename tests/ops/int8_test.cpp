// 8-bit rows and products of the CPU against their composed twins and against exact integers.
#include "ops/int8.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <limits>

#include "ops/int8_gemm.h"
#include "ops/int8_reference.h"
#include "ops/int8_rows.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "support/compare.h"
#include "t2v/error.h"

using namespace t2v;
using testing::mismatch;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The extreme values often, -128 in weights alone.
at::Tensor random_int8(at::IntArrayRef shape, int64_t lowest) {
  const at::Tensor any = at::randint(lowest, 128, shape, at::kInt);
  const at::Tensor ends = at::where(at::rand(shape) < 0.5, lowest, 127);
  return at::where(at::rand(shape) < 0.3, ends, any).to(at::kChar).contiguous();
}

at::Tensor pack(const at::Tensor& weight) {
  const int64_t n = weight.size(0);
  const int64_t k = weight.size(1);
  at::Tensor packed = at::empty({ops::gemm::packed_bytes(n, k)}, at::kByte);
  for (int64_t panel = 0; panel * ops::gemm::kPanelColumns < n; ++panel)
    ops::gemm::pack_panel(weight.const_data_ptr<int8_t>(), n, k, panel,
                          packed.mutable_data_ptr<uint8_t>());
  return packed;
}

at::Tensor sums_of(const at::Tensor& x, const at::Tensor& weight, ops::gemm::Loop loop) {
  constexpr int64_t kColumns = ops::gemm::kPanelColumns;
  const int64_t k = x.size(1);
  const int64_t panels = (weight.size(0) + kColumns - 1) / kColumns;
  const at::Tensor packed = pack(weight);
  const at::Tensor row_sums = x.sum(1, false, at::kInt);
  at::Tensor sums = at::empty({panels, x.size(0), kColumns}, at::kInt);
  for (int64_t p = 0; p < panels; ++p)
    ops::gemm::panel_sums(
        {x.const_data_ptr<int8_t>(), x.size(0), k, row_sums.const_data_ptr<int32_t>()},
        packed.const_data_ptr<uint8_t>() + p * kColumns * k, sums[p].mutable_data_ptr<int32_t>(),
        loop);
  return sums.permute({1, 0, 2}).reshape({x.size(0), -1}).narrow(1, 0, weight.size(0));
}

double decibels(const at::Tensor& truth, const at::Tensor& got) {
  const auto signal = truth.to(at::kDouble).square().sum().item<double>();
  const auto noise = (truth - got).to(at::kDouble).square().sum().item<double>();
  return 10 * std::log10(signal / noise);
}

at::Tensor expanded(const ops::QuantisedRows& rows) {
  return rows.values.to(at::kFloat) * rows.row_scale.unsqueeze(1);
}

// Units in the last place of bf16 between two tensors.
int64_t largest_step(const at::Tensor& a, const at::Tensor& b) {
  const auto order = [](const at::Tensor& x) {
    const at::Tensor bits = x.view(at::kShort).to(at::kLong);
    return at::where(bits < 0, -(bits & 0x7fff), bits);
  };
  return (order(a) - order(b)).abs().max().item<int64_t>();
}

struct ReferenceOps {
  ReferenceOps() { ops::set_backend(ops::OpBackend::kReference); }
  ~ReferenceOps() { ops::set_backend(ops::OpBackend::kFused); }
};

}  // namespace

TEST_CASE("sums of int8 products equal those in int64, in both loops") {
  at::manual_seed(1);
  for (const auto [m, n, k] : {std::array<int64_t, 3>{1, 1, 4},
                               {7, 70, 44},
                               {6, 64, 256},
                               {13, 65, 1540},
                               {192, 130, 64},
                               {5, 64, 8960},
                               {2, 3, 14336}}) {
    const at::Tensor x = random_int8({m, k}, -127);
    const at::Tensor w = random_int8({n, k}, -128);
    const at::Tensor exact = at::matmul(x.to(at::kLong), w.to(at::kLong).t());
    CAPTURE(m, n, k, ops::gemm::loop_name());
    CHECK(at::equal(sums_of(x, w, ops::gemm::Loop::kBest).to(at::kLong), exact));
    CHECK(at::equal(sums_of(x, w, ops::gemm::Loop::kPortable).to(at::kLong), exact));
  }
  const at::Tensor lowest = at::full({1, 14336}, -128, at::kChar);
  const at::Tensor x = at::full({1, 14336}, -127, at::kChar);
  CHECK(sums_of(x, lowest, ops::gemm::Loop::kBest).item<int32_t>() == 127 * 128 * 14336);
}

TEST_CASE("int8 products are within one unit of the last place of their twin") {
  at::manual_seed(2);
  for (const auto [m, n, k] : {std::array<int64_t, 3>{1, 16, 16}, {7, 70, 45}, {200, 192, 1600}}) {
    const ops::QuantisedRows x = ops::quantise_rows(at::randn({m, k}), 0);
    const ops::QuantisedRows w = ops::quantise_rows(at::randn({n, k}), 0);
    const at::Tensor bias = at::randn({n}) * 3;
    const at::Tensor none;
    const ops::Int8Weight packed = ops::pack_int8(w);
    const ops::Int8Weight plain{w.values, w.row_scale, n, k};
    for (const bool gelu : {false, true}) {
      for (const at::Tensor* b : {&bias, &none}) {
        const auto product = [&](const ops::Int8Weight& weight, at::ScalarType out) {
          return ops::Int8Product{.x = x, .weight = weight, .bias = *b, .gelu = gelu, .out = out};
        };
        CAPTURE(m, n, k, gelu, b->defined());
        const auto bf16 = product(packed, at::kBFloat16);
        // GELU far below 0: next to nothing, where units are tiny.
        const at::Tensor got = ops::int8_linear(bf16);
        const at::Tensor expected = ops::reference::int8_linear(product(plain, at::kBFloat16));
        const at::Tensor counts = expected.abs() > 1e-4;
        CHECK(largest_step(got.where(counts, 0), expected.where(counts, 0)) <= 1);
        CHECK(mismatch(got, expected, {1e-5, 1e-2}) == "");
        CHECK(mismatch(ops::int8_linear(product(packed, at::kFloat)),
                       ops::reference::int8_linear(product(plain, at::kFloat)),
                       {2e-5, 2e-6}) == "");
      }
    }
    const at::Tensor sum = at::randn({m, n});
    for (const at::Tensor& gate : {at::randn({n}), at::Tensor()}) {
      at::Tensor got = sum.clone();
      at::Tensor expected = sum.clone();
      ops::int8_linear_residual_(got, {.x = x, .weight = packed, .bias = bias}, gate);
      ops::reference::int8_linear_residual_(expected, {.x = x, .weight = plain, .bias = bias},
                                            gate);
      CHECK(mismatch(got, expected, {2e-4, 1e-5}) == "");
      CHECK(mismatch(got, sum, {2e-4, 1e-5}) != "");
    }
  }
}

TEST_CASE("the rotation is its own inverse and equals its matrix") {
  at::manual_seed(3);
  for (const int64_t group : {4, 16, 64, 256}) {
    const at::Tensor x = at::randn({3, 768});
    at::Tensor turned = x.clone();
    ops::row::rotate_groups(turned.mutable_data_ptr<float>(), turned.numel(), group);
    CAPTURE(group);
    CHECK(mismatch(turned, ops::reference::rotate_groups(x, group), {2e-6, 0}) == "");
    CHECK(mismatch(turned, x, {1e-2, 0}) != "");
    ops::row::rotate_groups(turned.mutable_data_ptr<float>(), turned.numel(), group);
    CHECK(mismatch(turned, x, {1e-6, 0}) == "");
  }
  CHECK(ops::rotation_group(256, 1536) == 256);
  CHECK(ops::rotation_group(64, 1536) == 64);
  CHECK(ops::rotation_group(256, 96) == 16);
  CHECK(ops::rotation_group(256, 44) == 4);
  CHECK(ops::rotation_group(256, 70) == 0);
  CHECK(ops::rotation_group(0, 1536) == 0);
}

TEST_CASE("rows become int8 as their twin says, and stay themselves") {
  at::manual_seed(4);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const auto [columns, rotation] :
         {std::array<int64_t, 2>{1536, 256}, {192, 64}, {96, 16}, {44, 4}, {70, 0}, {1536, 0}}) {
      const at::Tensor x = (at::randn({9, columns + 8}) * 3).to(type).narrow(1, 3, columns);
      const ops::QuantisedRows got = ops::quantise_rows(x, rotation);
      const ops::QuantisedRows expected = ops::reference::quantise_rows(x, rotation);
      CAPTURE(columns, rotation, type);
      CHECK(mismatch(got.row_scale, expected.row_scale, {0, 1e-6}) == "");
      const at::Tensor off = (got.values.to(at::kInt) - expected.values.to(at::kInt)).abs();
      CHECK(off.max().item<int64_t>() <= 1);
      CHECK(off.sum().item<int64_t>() <= (rotation == 0 ? 0 : 9));
      CHECK(got.values.abs().max().item<int64_t>() == 127);
      CHECK(at::equal(ops::quantise_rows(expanded(got), 0).values, got.values));
    }
  }
  at::Tensor x = at::randn({4, 256});
  x[0] = 0;
  x[2][7] = kInfinity;
  x[3][200] = kNan;
  for (const int64_t rotation : {0, 256}) {
    const ops::QuantisedRows rows = ops::quantise_rows(x, rotation);
    CHECK(rows.values[0].abs().max().item<int64_t>() == 0);
    CHECK(rows.row_scale.isfinite().to(at::kInt).equal(at::tensor({1, 1, 0, 0}, at::kInt)));
    // They reach the result: nothing hides them.
    const ops::QuantisedRows w = ops::quantise_rows(at::randn({16, 256}), rotation);
    const ops::Int8Weight weight = ops::pack_int8(w);
    const at::Tensor y =
        ops::int8_linear({.x = rows, .weight = weight, .bias = at::Tensor(), .out = at::kFloat});
    CHECK(y.isfinite().all(1).to(at::kInt).equal(at::tensor({1, 1, 0, 0}, at::kInt)));
  }
}

TEST_CASE("norms that quantise equal their composed forms") {
  at::manual_seed(5);
  const int64_t c = 768;
  const at::Tensor x = at::randn({37, c}) * 2 + 1;
  const at::Tensor a = at::randn({c});
  const at::Tensor b = at::randn({c});
  const at::Tensor branch = at::randn({37, c}).to(at::kBFloat16);
  const at::Tensor gate = at::randn({c});
  const ops::RowFormat format{.type = ops::RowType::kInt8, .dtype = at::kBFloat16, .rotation = 256};
  const auto run = [&](ops::NormKind kind) {
    const ops::Rows normed = ops::norm_rows(x, {kind, a, b}, 1e-6, format);
    at::Tensor sum = x.clone();
    const ops::Rows added =
        ops::gate_residual_norm_rows_(sum, branch, gate, {kind, a, b}, 1e-6, format);
    return std::array<at::Tensor, 3>{expanded({normed.values, normed.row_scale}),
                                     expanded({added.values, added.row_scale}), sum};
  };
  for (const auto kind : {ops::NormKind::kModulate, ops::NormKind::kAffine}) {
    const auto fused = run(kind);
    const ReferenceOps reference;
    const auto composed = run(kind);
    CHECK(decibels(composed[0], fused[0]) > 60);  // a few values next to a half
    CHECK(decibels(composed[1], fused[1]) > 60);
    CHECK(mismatch(fused[2], composed[2], {1e-5, 1e-6}) == "");
  }
  const ops::RowFormat plain{.dtype = at::kBFloat16};
  CHECK(mismatch(ops::norm_rows(x, {ops::NormKind::kAffine, a, b}, 1e-6, plain).values,
                 ops::layer_norm(x, a, b, 1e-6, at::kBFloat16), {}) == "");
}

TEST_CASE("layers keep 30 dB when some channels are far out, and only when they are rotated") {
  at::manual_seed(6);
  const int64_t k = 5120;
  for (const bool after_gelu : {false, true}) {
    at::Tensor x = at::randn({64, k});
    if (after_gelu) x = at::gelu(x, "tanh");
    for (int64_t i = 0; i < 20; ++i) x.select(1, (i * 251 + 17) % k).mul_(20 + 3 * i);
    const at::Tensor w = at::randn({96, k}) / std::sqrt(static_cast<double>(k));
    const at::Tensor truth = at::linear(x, w);
    const auto quality = [&](int64_t rotation) {
      const ops::Linear linear(
          ops::quantise_rows(w, rotation), {},
          {.type = ops::RowType::kInt8, .dtype = at::kFloat, .rotation = rotation});
      return decibels(truth, linear(ops::make_rows(x, linear.row_format())));
    };
    CAPTURE(after_gelu, quality(0), quality(64), quality(256));
    CHECK(quality(256) >= 30);
    CHECK(quality(0) < 30);
    CHECK(quality(256) > quality(0) + 6);
  }
}

TEST_CASE("layers with int8 weights and plain rows compute with the expanded weights") {
  at::manual_seed(7);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const int64_t rotation : {0, 64}) {
      const at::Tensor w = at::randn({130, 192}) / 14;
      const at::Tensor b = at::randn({130}).to(type);
      const at::Tensor x = at::randn({33, 192}).to(type);
      const ops::QuantisedRows rows = ops::quantise_rows(w, rotation);
      const ops::Linear linear(rows, b, {.dtype = type, .rotation = rotation});
      CHECK(linear.row_format().type == ops::RowType::kPlain);
      CHECK(linear.row_format().rotation == 0);
      const at::Tensor weight = ops::reference::expand_int8({rows.values, rows.row_scale, 130, 192},
                                                            rotation, at::kFloat);
      CHECK(decibels(w, weight) > 38);
      const at::Tensor expected = at::linear(x.to(at::kFloat), weight, b.to(at::kFloat));
      const testing::Tolerance close =
          type == at::kFloat ? testing::Tolerance{1e-5, 1e-5} : testing::Tolerance{3e-2, 1e-2};
      CHECK(mismatch(linear(x).to(at::kFloat), expected, close) == "");
      at::Tensor sum = at::ones({33, 130});
      linear.add_to(sum, {x, {}}, {});
      CHECK(mismatch(sum, expected + 1, close) == "");
    }
  }
}

TEST_CASE("fp8 is composed for tests and refused where no device has it") {
  at::manual_seed(8);
  const at::Tensor x = at::randn({20, 128});
  const at::Tensor w = at::randn({48, 128}) / 11;
  try {
    (void)ops::quantise_rows_fp8(x, 0);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kDevice);
  }
  const ReferenceOps reference;
  const ops::Linear linear(ops::quantise_rows_fp8(w, 0), at::ones({48}),
                           {.type = ops::RowType::kFp8, .dtype = at::kFloat, .rotation = 0});
  const at::Tensor got = linear(ops::make_rows(x, linear.row_format()));
  CHECK(decibels(at::linear(x, w) + 1, got) > 28);
  CHECK(decibels(at::linear(x, w) + 1, got) < 60);
  at::Tensor sum = at::zeros({20, 48});
  linear.add_to(sum, ops::make_rows(x, linear.row_format()), at::full({48}, 2.0F));
  CHECK(mismatch(sum, got * 2, {1e-6, 1e-6}) == "");
}
