// The 8-bit ops of the CUDA back end against the composed twins and against ATen's exact integer
// products. Without a device this program says SKIPPED.
#include "gpu_check.h"
#include "ops/int8.h"
#include "t2v/error.h"

namespace {

using namespace t2v::testing;
using t2v::ops::Int8Product;
using t2v::ops::Int8Weight;
using t2v::ops::QuantisedRows;

constexpr double kEps = 1e-6;

struct Size {
  int64_t rows;
  int64_t columns;
};

bool too_large(int64_t elements) { return t2v::support::tiny_shapes_only() && elements > 50000; }

at::TensorOptions on_device(at::ScalarType type) {
  return at::TensorOptions().device(at::kCUDA).dtype(type);
}

// Memory that the next allocation of this size is likely to get: what a kernel leaves out shows.
void poison(int64_t bytes) { at::full({bytes}, 0x7f, on_device(at::kChar)); }

at::Tensor bytes(int64_t rows, int64_t columns) {
  return at::randint(-127, 128, {rows, columns}, on_device(at::kChar));
}

at::Tensor scales(int64_t size) { return at::rand({size}, on_device(at::kFloat)) * 0.01 + 0.001; }

struct Problem {
  Problem(int64_t rows, int64_t columns, int64_t depth)
      : x{bytes(rows, depth), scales(rows)},
        weight{.values = bytes(columns, depth),
               .row_scale = scales(columns),
               .out_features = columns,
               .in_features = depth},
        bias(normal({columns})) {}
  [[nodiscard]] Int8Product product(at::ScalarType out, bool gelu = false) const {
    return {.x = x, .weight = weight, .bias = bias, .gelu = gelu, .out = out};
  }
  // fp64, of the exact sums.
  [[nodiscard]] at::Tensor truth(bool gelu = false) const {
    const at::Tensor sums = at::matmul(x.values.to(at::kDouble), weight.values.to(at::kDouble).t());
    const at::Tensor y =
        sums * x.row_scale.to(at::kDouble).unsqueeze(1) * weight.row_scale.to(at::kDouble) + bias;
    return gelu ? at::gelu(y, "tanh") : y;
  }
  QuantisedRows x;
  Int8Weight weight;
  at::Tensor bias;
};

// Where the twin's value lies next to a half, the neighbour is right too.
void check_bytes(const QuantisedRows& got, const QuantisedRows& low) {
  CHECK(((got.row_scale - low.row_scale).abs() <= 2e-5 * low.row_scale).all().item<bool>());
  const at::Tensor apart = (got.values.to(at::kInt) - low.values.to(at::kInt)).abs();
  CHECK(apart.max().item<int>() <= 1);
  CHECK(apart.sum().item<int64_t>() <= 2 + apart.numel() / 500);
}

bool has_fp8() {
  try {
    static_cast<void>(fused().quantise_rows_fp8(normal({1, 16}), 0));
    return true;
  } catch (const t2v::Error& error) {
    CHECK(error.kind() == t2v::ErrorKind::kDevice);
    return false;
  }
}

constexpr Size kSizes[] = {{1, 16},    {3, 64},    {5, 80},       {17, 1536},
                           {33, 8960}, {4, 14336}, {2000, 13824}, {32760, 5120}};

}  // namespace

TEST_CASE("quantise_rows on the device agrees with its twin, bit by bit without a rotation") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& size : kSizes) {
    if (too_large(size.rows * size.columns)) continue;
    for (const int64_t group : {0, 4, 16, 64, 256}) {
      if (group > 0 && size.columns % group != 0) continue;
      for (const at::ScalarType type : kFloatTypes) {
        if (size.rows > 1000 && type != at::kBFloat16) continue;
        CAPTURE(size.rows, size.columns, group, static_cast<int>(type));
        const at::Tensor x = (normal({size.rows, size.columns}) + 0.25).to(type);
        const QuantisedRows low = twin().quantise_rows(x, group);
        for (const at::Tensor& input : {x, misaligned(x)}) {
          poison(x.numel());
          const QuantisedRows got = fused().quantise_rows(input, group);
          check_bytes(got, low);
          if (group != 0) continue;
          CHECK(at::equal(got.row_scale, low.row_scale));
          CHECK(at::equal(got.values, low.values));
        }
      }
    }
  }
}

TEST_CASE("quantise_rows on the device: zeros, NaN and infinity") {
  if (!t2v::support::have_gpu()) return;
  for (const int64_t group : {0, 256}) {
    const at::Tensor x = normal({4, 512});
    x[0].zero_();
    x[1][300] = NAN;
    x[2][511] = -INFINITY;
    const QuantisedRows got = fused().quantise_rows(x, group);
    CHECK(got.values[0].abs().max().item<int8_t>() == 0);
    CHECK(got.row_scale[0].item<float>() == Approx(1e-5 / 127));
    const at::Tensor finite = got.row_scale.isfinite();
    CHECK(!finite[1].item<bool>());
    CHECK(!finite[2].item<bool>());
    CHECK(finite[3].item<bool>());
  }
}

TEST_CASE("gate_residual_norm_quantise_ on the device agrees with its parts") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& size : {Size{1, 16}, Size{17, 1536}, Size{4, 16384}, Size{32760, 5120}}) {
    if (too_large(size.rows * size.columns)) continue;
    for (const at::ScalarType type : kFloatTypes) {
      if (size.rows > 1000 && type != at::kBFloat16) continue;
      const int64_t group = t2v::ops::rotation_group(256, size.columns);
      CAPTURE(size.rows, size.columns, static_cast<int>(type));
      const at::Tensor x = normal({size.rows, size.columns});
      const at::Tensor branch = normal({size.rows, size.columns}).to(type);
      const t2v::ops::RowNorm modulate{.a = normal({size.columns}), .b = normal({size.columns})};
      const t2v::ops::RowNorm affine{
          .kind = t2v::ops::NormKind::kAffine, .a = modulate.a, .b = modulate.b};
      for (const at::Tensor& gate : {normal({size.columns}), at::Tensor()}) {
        at::Tensor sum = x.clone();
        fused().gate_residual_(sum, branch, gate);
        for (const t2v::ops::RowNorm& norm : {modulate, affine}) {
          const QuantisedRows low = twin().layer_norm_quantise(sum, norm, kEps, group);
          for (const bool odd : {false, true}) {
            at::Tensor fused_sum = odd ? misaligned(x) : x.clone();
            poison(x.numel());
            const QuantisedRows got = fused().gate_residual_norm_quantise_(
                fused_sum, odd ? misaligned(branch) : branch, gate, norm, kEps, group);
            CHECK(at::equal(fused_sum, sum));
            check_bytes(got, low);
          }
        }
      }
    }
  }
}

TEST_CASE("sums of int8_linear on the device are exact") {
  if (!t2v::support::have_gpu()) return;
  struct Case {
    int64_t rows, columns, depth;
  };
  for (const Case& c :
       {Case{1, 8, 16}, Case{17, 24, 48}, Case{129, 136, 272}, Case{257, 520, 80},
        Case{130, 5120, 14336}, Case{4680, 1536, 8960}, Case{32760, 5120, 5120},
        Case{32760, 13824, 5120}, Case{32760, 5120, 13824}, Case{32760, 15360, 5120}}) {
    if (too_large(c.rows * c.columns + c.columns * c.depth)) continue;
    CAPTURE(c.rows, c.columns, c.depth);
    Problem p(c.rows, c.columns, c.depth);
    p.x.row_scale.fill_(1);
    p.weight.row_scale.fill_(1);
    p.bias = at::Tensor();
    const at::Tensor sums =
        c.rows > 16 && c.depth % 8 == 0
            ? at::_int_mm(p.x.values, p.weight.values.t()).to(at::kFloat)
            : at::matmul(p.x.values.to(at::kDouble), p.weight.values.to(at::kDouble).t())
                  .to(at::kFloat);
    poison(sums.numel() * 4);
    const at::Tensor got = fused().int8_linear(p.product(at::kFloat));
    CHECK(at::equal(got, sums));
    CHECK(at::equal(fused().int8_linear(p.product(at::kFloat)), got));
  }
}

TEST_CASE("the longest sums of extreme values do not overflow on the device") {
  if (!t2v::support::have_gpu()) return;
  Problem p(3, 16, 14336);
  p.x.values[0].fill_(127);
  p.x.values[1].fill_(-128);
  p.x.values[2].fill_(-127);
  p.weight.values.fill_(127);
  p.weight.values.narrow(0, 8, 8).fill_(-128);
  p.x.row_scale.fill_(1);
  p.weight.row_scale.fill_(1);
  p.bias = at::Tensor();
  const at::Tensor exact =
      at::matmul(p.x.values.to(at::kDouble), p.weight.values.to(at::kDouble).t());
  CHECK(at::equal(fused().int8_linear(p.product(at::kFloat)), exact.to(at::kFloat)));
}

TEST_CASE("scales, bias, GELU and residual of int8_linear on the device agree with the twin") {
  if (!t2v::support::have_gpu()) return;
  struct Case {
    int64_t rows, columns, depth;
  };
  for (const Case& c : {Case{1, 8, 16}, Case{17, 24, 48}, Case{131, 264, 112},
                        Case{2000, 13824, 5120}, Case{2000, 5120, 13824}}) {
    if (too_large(c.rows * c.columns + c.columns * c.depth)) continue;
    CAPTURE(c.rows, c.columns, c.depth);
    const Problem p(c.rows, c.columns, c.depth);
    for (const bool gelu : {false, true}) {
      const at::Tensor truth = p.truth(gelu);
      for (const at::ScalarType type : kFloatTypes) {
        CAPTURE(gelu, static_cast<int>(type));
        const at::Tensor low = twin().int8_linear(p.product(type, gelu));
        poison(truth.numel() * low.element_size());
        check_error(fused().int8_linear(p.product(type, gelu)), low, truth);
      }
    }
    const at::Tensor x = normal({c.rows, c.columns});
    for (const at::Tensor& gate : {normal({c.columns}), at::Tensor()}) {
      at::Tensor low = x.clone();
      twin().int8_linear_residual_(low, p.product(at::kFloat), gate);
      const at::Tensor y = p.truth();
      const at::Tensor truth = x.to(at::kDouble) + (gate.defined() ? y * gate : y);
      for (const bool odd : {false, true}) {
        at::Tensor got = odd ? misaligned(x) : x.clone();
        fused().int8_linear_residual_(got, p.product(at::kFloat), gate);
        check_error(got, low, truth);
      }
    }
  }
}

TEST_CASE("expanded weights on the device agree with the twin") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& size : {Size{3, 64}, Size{17, 1536}, Size{5120, 13824}}) {
    if (too_large(size.rows * size.columns)) continue;
    Problem p(1, size.rows, size.columns);
    p.weight.values[0][0] = -128;
    for (const int64_t group : {0, 4, 16, 64, 256}) {
      if (group > 0 && size.columns % group != 0) continue;
      const at::Tensor truth = twin().expand_int8(p.weight, group, at::kFloat).to(at::kDouble);
      for (const at::ScalarType type : kFloatTypes) {
        CAPTURE(size.rows, size.columns, group, static_cast<int>(type));
        poison(p.weight.values.numel() * 2);
        check_error(fused().expand_int8(p.weight, group, type),
                    twin().expand_int8(p.weight, group, type), truth);
      }
    }
  }
}

TEST_CASE("rows and products in e4m3 agree with the twin, or the device is refused") {
  if (!t2v::support::have_gpu() || !has_fp8()) return;
  for (const Size& size : {Size{3, 64}, Size{17, 1536}, Size{2000, 5120}}) {
    if (too_large(size.rows * size.columns)) continue;
    for (const at::ScalarType type : kFloatTypes) {
      CAPTURE(size.rows, size.columns, static_cast<int>(type));
      const at::Tensor x = normal({size.rows, size.columns}).to(type);
      const QuantisedRows rows = fused().quantise_rows_fp8(x, 0);
      const QuantisedRows low = twin().quantise_rows_fp8(x, 0);
      CHECK(at::equal(rows.row_scale, low.row_scale));
      CHECK(at::equal(rows.values.to(at::kFloat), low.values.to(at::kFloat)));
      for (const int64_t columns : {24, 48}) {
        const QuantisedRows w = fused().quantise_rows_fp8(normal({columns, size.columns}), 0);
        const Int8Weight weight{.values = w.values,
                                .row_scale = w.row_scale,
                                .out_features = columns,
                                .in_features = size.columns};
        const at::Tensor bias = normal({columns});
        for (const bool gelu : {false, true}) {
          const at::Tensor got = fused().fp8_linear(
              {.x = rows, .weight = weight, .bias = bias, .gelu = gelu, .out = type});
          REQUIRE(got.scalar_type() == type);
          const at::Tensor wide = rows.values.to(at::kFloat).to(at::kDouble) *
                                  rows.row_scale.to(at::kDouble).unsqueeze(1);
          const at::Tensor other =
              w.values.to(at::kFloat).to(at::kDouble) * w.row_scale.to(at::kDouble).unsqueeze(1);
          const at::Tensor y = at::matmul(wide, other.t()) + bias;
          const at::Tensor truth = gelu ? at::gelu(y, "tanh") : y;
          const double error = ((got.to(at::kDouble) - truth).norm() / truth.norm()).item<double>();
          CAPTURE(columns, gelu, error);
          CHECK(error < 5e-3);
        }
      }
    }
  }
}
