// The row kernels' own source, run on the host (host_cuda/), against their definition in fp64.
// What this cannot see: races and the rounding of the device's rsqrt; those need a
// GPU (gpu_ops_test.cpp).
#include <catch2/catch.hpp>

#include "host_matrix.h"
#include "t2v/kernels/gate_residual.h"
#include "t2v/kernels/layer_norm_modulate.h"
#include "t2v/kernels/rms_norm.h"

using namespace t2v::kernels;

namespace {

constexpr DType kAll[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};
constexpr double kEps = 1e-6;

struct Layout {
  std::int64_t columns;
  std::int64_t extra_stride;
  std::int64_t offset;
};

// Widths around warps and vectors, the real ones, the widest; misaligned starts and strides.
constexpr Layout kLayouts[] = {{1, 0, 0},     {2, 1, 1},    {7, 0, 0},    {8, 8, 0},
                               {31, 2, 3},    {96, 0, 0},   {96, 0, 1},   {96, 1, 0},
                               {520, 8, 8},   {1536, 0, 0}, {5120, 8, 0}, {5121, 0, 0},
                               {16384, 0, 0}, {16383, 1, 1}};

struct RowMoments {
  double mean = 0;
  double variance = 0;
  double mean_square = 0;
};

RowMoments moments(const HostMatrix& x, std::int64_t row) {
  RowMoments m;
  const auto columns = static_cast<double>(x.columns());
  for (std::int64_t c = 0; c < x.columns(); ++c) {
    m.mean += x.get(row, c) / columns;
    m.mean_square += x.get(row, c) * x.get(row, c) / columns;
  }
  for (std::int64_t c = 0; c < x.columns(); ++c) {
    m.variance += (x.get(row, c) - m.mean) * (x.get(row, c) - m.mean) / columns;
  }
  return m;
}

LayerNormModulateArgs norm_args(HostMatrix& x, HostMatrix& out, HostMatrix& scale,
                                HostMatrix& shift) {
  LayerNormModulateArgs args;
  args.x = x.data();
  args.out = out.data();
  args.scale = scale.floats();
  args.shift = shift.floats();
  args.rows = x.rows();
  args.columns = x.columns();
  args.x_row_stride = x.stride();
  args.out_row_stride = out.stride();
  args.eps = static_cast<float>(kEps);
  args.x_dtype = x.dtype();
  args.out_dtype = out.dtype();
  return args;
}

// One comparison of all elements; `group` tells which modulation row serves a row.
void check_layer_norm(const HostMatrix& x, const HostMatrix& out, const HostMatrix& scale,
                      const HostMatrix& shift, double offset, std::int64_t rows_per_group) {
  std::int64_t wrong = 0;
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    const RowMoments m = moments(x, r);
    const std::int64_t group = r / rows_per_group;
    for (std::int64_t c = 0; c < x.columns(); ++c) {
      const double normal = (x.get(r, c) - m.mean) / std::sqrt(m.variance + kEps);
      const double expected = normal * (offset + scale.get(group, c)) + shift.get(group, c);
      wrong += !close(out.get(r, c), expected, out.dtype());
    }
  }
  CHECK(wrong == 0);
  CHECK(out.surroundings_intact());
}

}  // namespace

TEST_CASE("layer_norm_modulate follows its definition for all types, widths and alignments") {
  for (const Layout& l : kLayouts) {
    for (const DType in : kAll) {
      for (const DType out_dtype : kAll) {
        CAPTURE(l.columns, l.extra_stride, l.offset, static_cast<int>(in),
                static_cast<int>(out_dtype));
        HostMatrix x(in, 3, l.columns, l.extra_stride, l.offset);
        HostMatrix out(out_dtype, 3, l.columns, l.extra_stride, l.offset);
        HostMatrix scale(DType::kFloat32, 1, l.columns);
        HostMatrix shift(DType::kFloat32, 1, l.columns);
        x.fill_normal(1, 0.5F);
        scale.fill_normal(2);
        shift.fill_normal(3);
        LayerNormModulateArgs args = norm_args(x, out, scale, shift);
        REQUIRE(layer_norm_modulate(args, nullptr) == cudaSuccess);
        check_layer_norm(x, out, scale, shift, 1.0, 3);
        args.modulation = Modulation::kAffine;
        REQUIRE(layer_norm_modulate(args, nullptr) == cudaSuccess);
        check_layer_norm(x, out, scale, shift, 0.0, 3);
      }
    }
  }
}

TEST_CASE("layer_norm_modulate: groups of rows, in place, a large mean, no rows") {
  for (const std::int64_t group_stride_extra : {0, 1}) {
    HostMatrix x(DType::kFloat32, 7, 96);
    HostMatrix out(DType::kFloat32, 7, 96);
    HostMatrix scale(DType::kFloat32, 4, 96, group_stride_extra);
    HostMatrix shift(DType::kFloat32, 4, 96, group_stride_extra);
    x.fill_normal(4, 100.0F, 0.1F);
    scale.fill_normal(5);
    shift.fill_normal(6);
    LayerNormModulateArgs args = norm_args(x, out, scale, shift);
    args.rows_per_group = 2;
    args.group_stride = scale.stride();
    // Two passes: the variance of values around 100 keeps its digits; x itself has 2^-18 of it.
    REQUIRE(layer_norm_modulate(args, nullptr) == cudaSuccess);
    std::int64_t wrong = 0;
    for (std::int64_t r = 0; r < 7; ++r) {
      const RowMoments m = moments(x, r);
      for (std::int64_t c = 0; c < 96; ++c) {
        const double normal = (x.get(r, c) - m.mean) / std::sqrt(m.variance + kEps);
        const double expected = normal * (1 + scale.get(r / 2, c)) + shift.get(r / 2, c);
        wrong += !(std::fabs(out.get(r, c) - expected) <= 1e-3);
      }
    }
    CHECK(wrong == 0);

    args.out = x.data();
    HostMatrix separate = out;
    REQUIRE(layer_norm_modulate(args, nullptr) == cudaSuccess);
    std::int64_t different = 0;
    for (std::int64_t r = 0; r < 7; ++r) {
      for (std::int64_t c = 0; c < 96; ++c) different += x.get(r, c) != separate.get(r, c);
    }
    CHECK(different == 0);
    args.rows = 0;
    args.x = nullptr;
    CHECK(layer_norm_modulate(args, nullptr) == cudaSuccess);
  }
}

TEST_CASE("rms_norm follows its definition for all types, widths and alignments") {
  for (const Layout& l : kLayouts) {
    for (const DType dtype : kAll) {
      CAPTURE(l.columns, l.extra_stride, l.offset, static_cast<int>(dtype));
      HostMatrix x(dtype, 3, l.columns, l.extra_stride, l.offset);
      HostMatrix out(dtype, 3, l.columns);
      HostMatrix weight(DType::kFloat32, 1, l.columns);
      x.fill_normal(7);
      weight.fill_normal(8, 1.0F);
      RmsNormArgs args;
      args.x = x.data();
      args.out = out.data();
      args.weight = weight.floats();
      args.rows = 3;
      args.columns = l.columns;
      args.x_row_stride = x.stride();
      args.out_row_stride = out.stride();
      args.eps = static_cast<float>(kEps);
      args.dtype = dtype;
      REQUIRE(rms_norm(args, nullptr) == cudaSuccess);
      std::int64_t wrong = 0;
      for (std::int64_t r = 0; r < 3; ++r) {
        const double factor = 1 / std::sqrt(moments(x, r).mean_square + kEps);
        for (std::int64_t c = 0; c < l.columns; ++c) {
          wrong += !close(out.get(r, c), x.get(r, c) * factor * weight.get(0, c), dtype);
        }
      }
      CHECK(wrong == 0);
      CHECK(out.surroundings_intact());
    }
  }
}

TEST_CASE("gate_residual follows its definition for all types, widths and alignments") {
  for (const Layout& l : kLayouts) {
    for (const DType dtype : kAll) {
      for (const bool gated : {true, false}) {
        CAPTURE(l.columns, l.extra_stride, l.offset, static_cast<int>(dtype), gated);
        HostMatrix x(DType::kFloat32, 4, l.columns, l.extra_stride, l.offset);
        HostMatrix branch(dtype, 4, l.columns, l.extra_stride, l.offset);
        HostMatrix gate(DType::kFloat32, 2, l.columns);
        x.fill_normal(9);
        branch.fill_normal(10);
        gate.fill_normal(11);
        const HostMatrix before = x;
        GateResidualArgs args;
        args.x = x.floats();
        args.branch = branch.data();
        args.gate = gated ? gate.floats() : nullptr;
        args.rows = 4;
        args.columns = l.columns;
        args.x_row_stride = x.stride();
        args.branch_row_stride = branch.stride();
        args.rows_per_group = 2;
        args.group_stride = gate.stride();
        args.branch_dtype = dtype;
        REQUIRE(gate_residual(args, nullptr) == cudaSuccess);
        std::int64_t wrong = 0;
        for (std::int64_t r = 0; r < 4; ++r) {
          for (std::int64_t c = 0; c < l.columns; ++c) {
            const double factor = gated ? gate.get(r / 2, c) : 1.0;
            wrong +=
                !close(x.get(r, c), before.get(r, c) + branch.get(r, c) * factor, DType::kFloat32);
          }
        }
        CHECK(wrong == 0);
        CHECK(x.surroundings_intact());
      }
    }
  }
}
