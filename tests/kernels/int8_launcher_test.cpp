// The launchers of the 8-bit kernels refuse what their contracts exclude, before any launch.
#include <catch2/catch.hpp>

#include "host_matrix.h"
#include "refused_launch.h"
#include "t2v/kernels/expand_int8_rows.h"
#include "t2v/kernels/gate_residual_norm_quantise.h"
#include "t2v/kernels/int8_linear.h"
#include "t2v/kernels/quantise_rows.h"

using namespace t2v::kernels;

namespace {

constexpr std::int64_t kSize = 256;

struct alignas(16) Bytes {
  std::int8_t at[2 * kSize];
};

}  // namespace

TEST_CASE("quantise_rows refuses broken preconditions") {
  HostMatrix x(DType::kBFloat16, 2, kSize, 8);
  HostMatrix scales(DType::kFloat32, 1, 8);
  Bytes out{};
  QuantiseRowsArgs good;
  good.x = x.data();
  good.out = out.at;
  good.row_scale = scales.floats();
  good.rows = 2;
  good.columns = kSize;
  good.x_row_stride = x.stride();
  good.out_row_stride = kSize;
  good.x_dtype = DType::kBFloat16;
  const auto status = [&](const auto& change) {
    return refused_status(&quantise_rows, good, change);
  };
  using Args = QuantiseRowsArgs;
  CHECK(status([](Args& a) { a.x = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.row_scale = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.rows = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = 252; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = 192; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = a.x_row_stride = a.out_row_stride = 16640; }) == kInvalid);
  CHECK(status([](Args& a) { a.rotation_group = 8; }) == kInvalid);
  CHECK(status([](Args& a) { a.rotation_group = -4; }) == kInvalid);
  CHECK(status([](Args& a) { a.rotation_group = 1024; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_row_stride = 255; }) == kInvalid);
  CHECK(status([](Args& a) { a.out_row_stride = 255; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.out_type = static_cast<ByteType>(2); }) == kInvalid);
  CHECK(status([](Args& a) { a.x = shifted(a.x, 2); }) == kMisaligned);
  CHECK(status([](Args& a) { a.out = shifted(a.out, 1); }) == kMisaligned);
  CHECK(status([](Args& a) { a.row_scale = shifted(a.row_scale, 2); }) == kMisaligned);
  CHECK(status([](Args& a) { a.x_row_stride = 257; }) == kMisaligned);
  CHECK(status([](Args& a) { a.out_row_stride = 260; }) == kMisaligned);
  CHECK(status([](Args& a) { a.rows = 0; }) == cudaSuccess);
}

TEST_CASE("expand_int8_rows refuses broken preconditions") {
  HostMatrix wide(DType::kFloat16, 2, kSize);
  HostMatrix scales(DType::kFloat32, 1, 8);
  Bytes x{};
  ExpandInt8RowsArgs good;
  good.x = x.at;
  good.row_scale = scales.floats();
  good.out = wide.data();
  good.rows = 2;
  good.columns = kSize;
  good.x_row_stride = kSize;
  good.out_row_stride = wide.stride();
  good.out_dtype = DType::kFloat16;
  const auto status = [&](const auto& change) {
    return refused_status(&expand_int8_rows, good, change);
  };
  using Args = ExpandInt8RowsArgs;
  CHECK(status([](Args& a) { a.x = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.row_scale = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.rotation_group = 32; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = 200; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_row_stride = 128; }) == kInvalid);
  CHECK(status([](Args& a) { a.out_dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.x = shifted(a.x, 4); }) == kMisaligned);
  CHECK(status([](Args& a) { a.out = shifted(a.out, 8); }) == kMisaligned);
  CHECK(status([](Args& a) { a.row_scale = shifted(a.row_scale, 1); }) == kMisaligned);
  CHECK(status([](Args& a) { a.rows = 0; }) == cudaSuccess);
}

TEST_CASE("gate_residual_norm_quantise refuses broken preconditions") {
  HostMatrix x(DType::kFloat32, 2, kSize);
  HostMatrix branch(DType::kBFloat16, 2, kSize);
  HostMatrix vector(DType::kFloat32, 1, kSize);
  Bytes out{};
  GateResidualNormQuantiseArgs good;
  good.x = x.floats();
  good.branch = branch.data();
  good.gate = vector.floats();
  good.scale = vector.floats();
  good.shift = vector.floats();
  good.out = out.at;
  good.row_scale = vector.floats();
  good.rows = 2;
  good.columns = kSize;
  good.x_row_stride = kSize;
  good.branch_row_stride = kSize;
  good.out_row_stride = kSize;
  good.branch_dtype = DType::kBFloat16;
  const auto status = [&](const auto& change) {
    return refused_status(&gate_residual_norm_quantise, good, change);
  };
  using Args = GateResidualNormQuantiseArgs;
  CHECK(status([](Args& a) { a.x = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.branch = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.scale = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.shift = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.row_scale = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = 96; }) == kInvalid);
  CHECK(status([](Args& a) { a.rotation_group = 2; }) == kInvalid);
  CHECK(status([](Args& a) { a.branch_row_stride = 8; }) == kInvalid);
  CHECK(status([](Args& a) { a.norm_group_stride = -4; }) == kInvalid);
  CHECK(status([](Args& a) { a.branch_dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.gate = shifted(a.gate, 4); }) == kMisaligned);
  CHECK(status([](Args& a) { a.branch = shifted(a.branch, 8); }) == kMisaligned);
  CHECK(status([](Args& a) { a.x_row_stride = 258; }) == kMisaligned);
  CHECK(status([](Args& a) { a.rows = 0; }) == cudaSuccess);
}

TEST_CASE("int8_linear refuses broken preconditions") {
  HostMatrix out(DType::kFloat32, 2, 64);
  HostMatrix vector(DType::kFloat32, 1, kSize);
  Bytes x{};
  Bytes weight{};
  Int8LinearArgs good;
  good.x = x.at;
  good.weight = weight.at;
  good.x_scale = good.weight_scale = good.bias = vector.floats();
  good.out = out.data();
  good.rows = 2;
  good.columns = 32;
  good.depth = 16;
  good.x_row_stride = good.weight_row_stride = 16;
  good.out_row_stride = 64;
  good.out_dtype = DType::kFloat32;
  const auto status = [&](const auto& change) {
    return refused_status(&int8_linear, good, change);
  };
  using Args = Int8LinearArgs;
  CHECK(status([](Args& a) { a.x = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.weight = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_scale = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.weight_scale = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.rows = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.rows = 2147483647; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = 36; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.depth = 8; }) == kInvalid);
  CHECK(status([](Args& a) { a.depth = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.depth = a.x_row_stride = a.weight_row_stride = 131072; }) ==
        kInvalid);
  CHECK(status([](Args& a) { a.x_row_stride = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.weight_row_stride = std::int64_t{1} << 25; }) == kInvalid);
  CHECK(status([](Args& a) { a.out_row_stride = 16; }) == kInvalid);
  CHECK(status([](Args& a) { a.gate = a.bias; }) == kInvalid);
  CHECK(status([](Args& a) { a.out_dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.epilogue = static_cast<Int8Epilogue>(9); }) == kInvalid);
  CHECK(status([](Args& a) {
          a.epilogue = Int8Epilogue::kResidual;
          a.out_dtype = DType::kBFloat16;
        }) == kInvalid);
  CHECK(status([](Args& a) { a.x = shifted(a.x, 8); }) == kMisaligned);
  CHECK(status([](Args& a) { a.weight = shifted(a.weight, 1); }) == kMisaligned);
  CHECK(status([](Args& a) { a.out = shifted(a.out, 4); }) == kMisaligned);
  CHECK(status([](Args& a) { a.bias = shifted(a.bias, 2); }) == kMisaligned);
  CHECK(status([](Args& a) { a.x_row_stride = 24; }) == kMisaligned);
  CHECK(status([](Args& a) { a.out_row_stride = 66; }) == kMisaligned);
  CHECK(status([](Args& a) { a.rows = 0; }) == cudaSuccess);
}
