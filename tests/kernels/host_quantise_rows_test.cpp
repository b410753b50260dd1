// quantise_rows, gate_residual_norm_quantise and expand_int8_rows, their own source run on the host
// (host_cuda/), against their definitions in fp64.
#include <cuda_fp8.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "host_cuda/host_cuda.h"
#include "host_matrix.h"
#include "host_rotation.h"
#include "t2v/kernels/expand_int8_rows.h"
#include "t2v/kernels/gate_residual_norm_quantise.h"
#include "t2v/kernels/layer_norm_quantise.h"
#include "t2v/kernels/quantise_rows.h"

using namespace t2v::kernels;
using t2v::testing::rotated;

namespace {

constexpr std::int8_t kUntouched = 99;
constexpr std::int64_t kEdge = 8;

// Bytes with an edge before, behind and between the rows.
class Bytes {
 public:
  Bytes(std::int64_t rows, std::int64_t columns)
      : rows_(rows),
        columns_(columns),
        at_(static_cast<std::size_t>((rows + 1) * stride() + kEdge), kUntouched) {}
  std::int8_t* data() { return at_.data() + kEdge; }
  [[nodiscard]] std::int64_t stride() const { return columns_ + kEdge; }
  std::int8_t& get(std::int64_t row, std::int64_t column) {
    return data()[row * stride() + column];
  }
  bool surroundings_intact() {
    for (std::int64_t i = -kEdge; i < rows_ * stride(); ++i) {
      const bool inside = i >= 0 && i % stride() < columns_;
      if (!inside && data()[i] != kUntouched) return false;
    }
    return true;
  }

 private:
  std::int64_t rows_;
  std::int64_t columns_;
  std::vector<std::int8_t> at_;
};

struct Problem {
  Problem(std::int64_t rows, std::int64_t columns, DType dtype)
      : x(dtype, rows, columns, 8), row_scale(DType::kFloat32, 1, rows), out(rows, columns) {
    x.fill_normal(1, 0.25F);
  }
  QuantiseRowsArgs args(int group, ByteType type = ByteType::kInt8) {
    QuantiseRowsArgs a;
    a.x = x.data();
    a.out = out.data();
    a.row_scale = row_scale.floats();
    a.rows = x.rows();
    a.columns = x.columns();
    a.x_row_stride = x.stride();
    a.out_row_stride = out.stride();
    a.rotation_group = group;
    a.x_dtype = x.dtype();
    a.out_type = type;
    return a;
  }
  [[nodiscard]] std::vector<double> row(std::int64_t r) const {
    std::vector<double> y;
    for (std::int64_t c = 0; c < x.columns(); ++c) y.push_back(x.get(r, c));
    return y;
  }
  HostMatrix x, row_scale;
  Bytes out;
};

double largest_of(const std::vector<double>& z) {
  double largest = 1e-5;
  for (const double v : z) largest = std::max(largest, std::fabs(v));
  return largest;
}

// Bytes and scale of one row against its rotated values.
void check_int8_row(Bytes& out, std::int64_t row, double scale, const std::vector<double>& z,
                    double slack) {
  CHECK(scale == Approx(largest_of(z) / 127).epsilon(2e-5));
  std::int64_t wrong = 0;
  std::int64_t at_limit = 0;
  for (std::size_t c = 0; c < z.size(); ++c) {
    const int q = out.get(row, static_cast<std::int64_t>(c));
    wrong += !(std::fabs(q - z[c] / scale) <= 0.5 + slack) || q < -127;
    at_limit += std::abs(q) == 127;
  }
  CHECK(wrong == 0);
  CHECK(at_limit >= 1);
}

double e4m3_value(std::int8_t byte) {
  __nv_fp8_e4m3 value;
  std::memcpy(&value, &byte, 1);
  return static_cast<float>(value);
}

constexpr DType kTypes[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};

}  // namespace

TEST_CASE("quantise_rows follows its definition for all types, widths and rotations") {
  for (const std::int64_t columns : {8, 24, 48, 64, 256, 320, 1536, 5120, 14336, 16384}) {
    for (const int group : {0, 4, 16, 64, 256}) {
      if (group != 0 && columns % group != 0) continue;
      if (columns > 10000 && group != 256) continue;
      for (const DType dtype : kTypes) {
        CAPTURE(columns, group, static_cast<int>(dtype));
        Problem p(2, columns, dtype);
        REQUIRE(quantise_rows(p.args(group), nullptr) == cudaSuccess);
        for (std::int64_t r = 0; r < 2; ++r)
          check_int8_row(p.out, r, p.row_scale.get(0, r), rotated(p.row(r), group), 1e-3);
        CHECK(p.out.surroundings_intact());
      }
    }
  }
}

TEST_CASE("without a rotation the bits are those of a true division") {
  Problem p(40, 1536, DType::kFloat32);
  for (std::int64_t r = 0; r < 40; ++r) {  // magnitudes from 2^-20 to 2^110
    for (std::int64_t c = 0; c < 1536; ++c)
      p.x.set(r, c,
              static_cast<float>(std::ldexp(p.x.get(r, c), static_cast<int>(r) * 10 / 3 - 20)));
  }
  // Rows of halves: exact ones, and ones that only a true division finds.
  for (std::int64_t r = 0; r < 40; r += 2) {
    const float scale = r == 0 ? 1.0F : std::ldexp(1.0F + static_cast<float>(r) / 41, -3);
    for (std::int64_t c = 0; c < 1536; ++c)
      p.x.set(r, c, (static_cast<float>(c % 254 - 127) + 0.5F) * scale);
    p.x.set(r, 0, 127.0F * scale);
  }
  REQUIRE(quantise_rows(p.args(0), nullptr) == cudaSuccess);
  std::int64_t wrong = 0;
  for (std::int64_t r = 0; r < 40; ++r) {
    const auto scale = static_cast<float>(largest_of(p.row(r))) / 127.0F;
    CHECK(static_cast<float>(p.row_scale.get(0, r)) == scale);
    for (std::int64_t c = 0; c < 1536; ++c) {
      const float level = std::nearbyint(static_cast<float>(p.x.get(r, c)) / scale);
      wrong += p.out.get(r, c) != static_cast<int>(std::min(std::max(level, -127.0F), 127.0F));
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("rows in e4m3: the nearest value of the format, saturating") {
  for (const int group : {0, 64}) {
    for (const DType dtype : kTypes) {
      Problem p(3, 320, dtype);
      REQUIRE(quantise_rows(p.args(group, ByteType::kE4m3), nullptr) == cudaSuccess);
      for (std::int64_t r = 0; r < 3; ++r) {
        const std::vector<double> z = rotated(p.row(r), group);
        const double scale = p.row_scale.get(0, r);
        CHECK(scale == Approx(largest_of(z) / 448).epsilon(2e-5));
        std::int64_t wrong = 0;
        double largest = 0;
        for (std::size_t c = 0; c < z.size(); ++c) {
          const double got = e4m3_value(p.out.get(r, static_cast<std::int64_t>(c)));
          const double level = z[c] / scale;
          // Half a place: 3 bits behind the leading one, 2^-9 between subnormal values.
          const double place = std::max(std::ldexp(1.0, std::ilogb(level) - 3), 0x1p-9);
          wrong += !(std::fabs(got - level) <= 0.5 * place * (1 + 1e-3));
          largest = std::max(largest, std::fabs(got));
        }
        CHECK(wrong == 0);
        CHECK(largest == 448);
      }
      CHECK(p.out.surroundings_intact());
    }
  }
}

TEST_CASE("a row of zeros is zeros, NaN and infinity reach the scale of their row only") {
  for (const int group : {0, 4, 256}) {
    for (const ByteType type : {ByteType::kInt8, ByteType::kE4m3}) {
      Problem p(5, 512, DType::kFloat32);
      for (std::int64_t c = 0; c < 512; ++c) p.x.set(0, c, c % 2 == 0 ? 0.0F : -0.0F);
      p.x.set(1, 300, std::nanf(""));
      p.x.set(2, 511, -INFINITY);
      p.x.set(4, 7, -std::nanf(""));
      REQUIRE(quantise_rows(p.args(group, type), nullptr) == cudaSuccess);
      CHECK(p.row_scale.get(0, 0) == Approx(1e-5 / (type == ByteType::kInt8 ? 127 : 448)));
      for (std::int64_t c = 0; c < 512; ++c) CHECK((p.out.get(0, c) & 0x7f) == 0);
      for (const std::int64_t row : {1, 2, 4}) CHECK(!std::isfinite(p.row_scale.get(0, row)));
      CHECK(std::isfinite(p.row_scale.get(0, 3)));
    }
  }
}

TEST_CASE("expanded rows are the rotated levels times the scale, and quantise to themselves") {
  for (const int group : {0, 4, 16, 64, 256}) {
    for (const DType dtype : kTypes) {
      CAPTURE(group, static_cast<int>(dtype));
      Problem p(3, 768, DType::kFloat32);
      REQUIRE(quantise_rows(p.args(group), nullptr) == cudaSuccess);
      p.out.get(2, 5) = -128;  // of other people's files
      HostMatrix wide(dtype, 3, 768, 8);
      ExpandInt8RowsArgs args;
      args.x = p.out.data();
      args.row_scale = p.row_scale.floats();
      args.out = wide.data();
      args.rows = 3;
      args.columns = 768;
      args.x_row_stride = p.out.stride();
      args.out_row_stride = wide.stride();
      args.rotation_group = group;
      args.out_dtype = dtype;
      REQUIRE(expand_int8_rows(args, nullptr) == cudaSuccess);
      CHECK(wide.surroundings_intact());
      std::int64_t wrong = 0;
      for (std::int64_t r = 0; r < 3; ++r) {
        std::vector<double> levels;
        for (std::int64_t c = 0; c < 768; ++c) levels.push_back(p.out.get(r, c));
        const std::vector<double> z = rotated(levels, group);
        for (std::int64_t c = 0; c < 768; ++c)
          wrong +=
              !close(wide.get(r, c), z[static_cast<std::size_t>(c)] * p.row_scale.get(0, r), dtype);
      }
      CHECK(wrong == 0);
      if (dtype != DType::kFloat32) continue;
      Bytes again(2, 768);
      QuantiseRowsArgs back = p.args(group);
      back.x = wide.data();
      back.x_row_stride = wide.stride();
      back.out = again.data();
      back.rows = 2;
      REQUIRE(quantise_rows(back, nullptr) == cudaSuccess);
      for (std::int64_t r = 0; r < 2; ++r) {
        for (std::int64_t c = 0; c < 768; ++c) wrong += again.get(r, c) != p.out.get(r, c);
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("gate_residual_norm_quantise is the sum, then layer_norm_quantise of it") {
  for (const std::int64_t columns : {8, 320, 1536, 6144}) {
    for (const DType dtype : kTypes) {
      for (const bool gated : {true, false}) {
        const int group = columns == 8 ? 4 : columns == 320 ? 64 : 256;
        CAPTURE(columns, static_cast<int>(dtype), gated);
        HostMatrix x(DType::kFloat32, 4, columns, 4);
        HostMatrix branch(dtype, 4, columns, 8);
        HostMatrix vectors(DType::kFloat32, 6, columns);  // gate, scale, shift of two groups
        x.fill_normal(1, 0.5F);
        branch.fill_normal(2);
        vectors.fill_normal(3);
        HostMatrix sum = x;
        for (std::int64_t r = 0; r < 4; ++r) {
          for (std::int64_t c = 0; c < columns; ++c) {
            const double gate = gated ? vectors.get(r / 2 * 3, c) : 1.0;
            sum.set(r, c, static_cast<float>(std::fma(branch.get(r, c), gate, x.get(r, c))));
          }
        }
        Bytes out(4, columns);
        Bytes expected(4, columns);
        HostMatrix scales(DType::kFloat32, 2, 4);
        LayerNormQuantiseArgs norm;
        norm.x = sum.data();
        norm.out = expected.data();
        norm.row_scale = scales.floats();
        norm.scale = vectors.floats() + vectors.stride();
        norm.shift = vectors.floats() + 2 * vectors.stride();
        norm.rows = 4;
        norm.columns = columns;
        norm.x_row_stride = sum.stride();
        norm.out_row_stride = expected.stride();
        norm.rows_per_group = 2;
        norm.group_stride = 3 * vectors.stride();
        norm.rotation_group = group;
        norm.modulation = gated ? Modulation::kScaleShift : Modulation::kAffine;
        REQUIRE(layer_norm_quantise(norm, nullptr) == cudaSuccess);

        GateResidualNormQuantiseArgs args;
        args.x = x.floats();
        args.branch = branch.data();
        args.gate = gated ? vectors.floats() : nullptr;
        args.scale = norm.scale;
        args.shift = norm.shift;
        args.out = out.data();
        args.row_scale = scales.floats() + scales.stride();
        args.rows = 4;
        args.columns = columns;
        args.x_row_stride = x.stride();
        args.branch_row_stride = branch.stride();
        args.out_row_stride = out.stride();
        args.rows_per_group = 2;
        args.gate_group_stride = 3 * vectors.stride();
        args.norm_group_stride = 3 * vectors.stride();
        args.rotation_group = group;
        args.branch_dtype = dtype;
        args.modulation = norm.modulation;
        REQUIRE(gate_residual_norm_quantise(args, nullptr) == cudaSuccess);
        CHECK(x.surroundings_intact());
        CHECK(out.surroundings_intact());
        std::int64_t wrong = 0;
        for (std::int64_t r = 0; r < 4; ++r) {
          CHECK(scales.get(1, r) == scales.get(0, r));
          for (std::int64_t c = 0; c < columns; ++c)
            wrong += x.get(r, c) != sum.get(r, c) || out.get(r, c) != expected.get(r, c);
        }
        CHECK(wrong == 0);
      }
    }
  }
}
