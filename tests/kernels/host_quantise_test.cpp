// layer_norm_quantise's own source, run on the host (host_cuda/), against its definition in fp64:
// the rotation as a product with the whole matrix.
#include <catch2/catch.hpp>

#include "host_cuda/host_cuda.h"
#include "host_matrix.h"
#include "host_rotation.h"
#include "t2v/kernels/layer_norm_quantise.h"

using namespace t2v::kernels;
using t2v::testing::rotated;
using t2v::testing::rotation_entry;

namespace {

struct Problem {
  Problem(std::int64_t rows, std::int64_t columns, DType dtype)
      : x(dtype, rows, columns, 8),
        scale(DType::kFloat32, rows, columns),
        shift(DType::kFloat32, rows, columns),
        row_scale(DType::kFloat32, 1, rows),
        out(static_cast<std::size_t>(rows * columns) + 16, 99) {
    x.fill_normal(1, 0.5F);
    scale.fill_normal(2);
    shift.fill_normal(3);
  }
  LayerNormQuantiseArgs args() {
    LayerNormQuantiseArgs a;
    a.x = x.data();
    a.out = out.data() + 8;
    a.row_scale = row_scale.floats();
    a.scale = scale.floats();
    a.shift = shift.floats();
    a.rows = x.rows();
    a.columns = x.columns();
    a.x_row_stride = x.stride();
    a.out_row_stride = x.columns();
    a.rows_per_group = 1;
    a.group_stride = scale.stride();
    a.x_dtype = x.dtype();
    return a;
  }
  [[nodiscard]] std::vector<double> normed(std::int64_t row, double offset) const {
    const auto columns = static_cast<double>(x.columns());
    double mean = 0;
    double variance = 0;
    for (std::int64_t c = 0; c < x.columns(); ++c) mean += x.get(row, c) / columns;
    for (std::int64_t c = 0; c < x.columns(); ++c)
      variance += std::pow(x.get(row, c) - mean, 2) / columns;
    std::vector<double> y;
    for (std::int64_t c = 0; c < x.columns(); ++c)
      y.push_back((x.get(row, c) - mean) / std::sqrt(variance + 1e-6) *
                      (offset + scale.get(row, c)) +
                  shift.get(row, c));
    return y;
  }
  HostMatrix x, scale, shift, row_scale;
  std::vector<std::int8_t> out;
};

void check(const Problem& p, double offset, int group) {
  std::int64_t wrong = 0;
  std::int64_t at_limit = 0;
  for (std::int64_t r = 0; r < p.x.rows(); ++r) {
    const std::vector<double> z = rotated(p.normed(r, offset), group);
    double largest = 1e-5;
    for (const double v : z) largest = std::max(largest, std::fabs(v));
    const double scale = p.row_scale.get(0, r);
    CHECK(scale == Approx(largest / 127).epsilon(2e-5));
    for (std::size_t c = 0; c < z.size(); ++c) {
      const int q = p.out[8 + static_cast<std::size_t>(r) * z.size() + c];
      wrong += !(std::fabs(q - z[c] / scale) <= 0.5 + 3e-3);
      at_limit += std::abs(q) == 127;
    }
  }
  CHECK(wrong == 0);
  CHECK(at_limit >= p.x.rows());
  for (std::size_t i = 0; i < 8; ++i) CHECK((p.out[i] == 99 && p.out[p.out.size() - 1 - i] == 99));
}

}  // namespace

TEST_CASE("the rotation of the definition is symmetric and its own inverse") {
  for (const std::int64_t size : {4, 16, 64, 256}) {
    for (std::int64_t i = 0; i < size; i += 7) {
      for (std::int64_t j = 0; j < size; ++j) {
        double product = 0;
        for (std::int64_t k = 0; k < size; ++k)
          product += rotation_entry(i, k, size) * rotation_entry(k, j, size);
        REQUIRE(product == Approx(i == j ? 1.0 : 0.0).margin(1e-12));
        REQUIRE(rotation_entry(i, j, size) == rotation_entry(j, i, size));
      }
    }
  }
}

TEST_CASE("layer_norm_quantise follows its definition for all types, widths and rotations") {
  for (const std::int64_t columns : {8, 24, 64, 256, 320, 512, 768, 1536, 5120, 16384}) {
    for (const int group : {0, 4, 16, 64, 256}) {
      if (group != 0 && columns % group != 0) continue;
      if (columns > 10000 && group < 256) continue;
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
        CAPTURE(columns, group, static_cast<int>(dtype));
        Problem problem(2, columns, dtype);
        LayerNormQuantiseArgs args = problem.args();
        args.rotation_group = group;
        REQUIRE(layer_norm_quantise(args, nullptr) == cudaSuccess);
        check(problem, 1.0, group);
        if (dtype != DType::kBFloat16) continue;
        args.modulation = Modulation::kAffine;
        REQUIRE(layer_norm_quantise(args, nullptr) == cudaSuccess);
        check(problem, 0.0, group);
      }
    }
  }
}

TEST_CASE("layer_norm_quantise of a constant row: zeros and the smallest scale") {
  Problem problem(1, 256, DType::kFloat32);
  for (std::int64_t c = 0; c < 256; ++c) {
    problem.x.set(0, c, 3.0F);
    problem.shift.set(0, c, 0.0F);
  }
  REQUIRE(layer_norm_quantise(problem.args(), nullptr) == cudaSuccess);
  CHECK(problem.row_scale.get(0, 0) == Approx(1e-5 / 127));
  for (std::size_t c = 0; c < 256; ++c) CHECK(problem.out[8 + c] == 0);
}

TEST_CASE("layer_norm_quantise refuses broken preconditions") {
  Problem problem(2, 256, DType::kBFloat16);
  const auto status = [&](const auto& change) {
    LayerNormQuantiseArgs args = problem.args();
    change(args);
    const long before = t2v::host_cuda::num_blocks_run;
    const cudaError_t result = layer_norm_quantise(args, nullptr);
    CHECK(t2v::host_cuda::num_blocks_run == before);
    return result;
  };
  using Args = LayerNormQuantiseArgs;
  CHECK(status([](Args& a) { a.x = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.out = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.row_scale = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.scale = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.shift = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.rotation_group = 32; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.columns = 192; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) {
          a.rotation_group = 0;
          a.columns = 252;
        }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.columns = 0; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.rows = -1; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.x_row_stride = 255; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.out_row_stride = 255; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.group_stride = -1; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.x_dtype = static_cast<DType>(9); }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.x_row_stride = 257; }) == cudaErrorMisalignedAddress);
  CHECK(status([](Args& a) { a.out += 1; }) == cudaErrorMisalignedAddress);
  CHECK(status([](Args& a) { a.x = static_cast<const char*>(a.x) + 2; }) ==
        cudaErrorMisalignedAddress);
  CHECK(status([](Args& a) { a.rows = 0; }) == cudaSuccess);
}
