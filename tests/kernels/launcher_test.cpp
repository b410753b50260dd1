// The launchers of the row kernels refuse what their contracts exclude, before any launch.
#include <catch2/catch.hpp>

#include "host_matrix.h"
#include "refused_launch.h"
#include "t2v/kernels/gate_residual.h"
#include "t2v/kernels/layer_norm_modulate.h"
#include "t2v/kernels/rms_norm.h"

using namespace t2v::kernels;

TEST_CASE("layer_norm_modulate refuses broken preconditions") {
  HostMatrix x(DType::kFloat32, 2, 8);
  HostMatrix vector(DType::kFloat32, 1, 8);
  using Args = LayerNormModulateArgs;
  Args good;
  good.x = x.data();
  good.out = x.data();
  good.scale = vector.floats();
  good.shift = vector.floats();
  good.rows = 2;
  good.columns = 8;
  good.x_row_stride = 8;
  good.out_row_stride = 8;
  const auto status = [&](const auto& change) {
    return refused_status(&layer_norm_modulate, good, change);
  };
  CHECK(status([](Args& a) { a.x = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.scale = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.shift = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.rows = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.rows = std::int64_t{1} << 31; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = a.x_row_stride = a.out_row_stride = 16385; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_row_stride = 7; }) == kInvalid);
  CHECK(status([](Args& a) { a.out_row_stride = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_row_stride = std::int64_t{1} << 40; }) == kInvalid);
  CHECK(status([](Args& a) { a.rows_per_group = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.group_stride = -8; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.out_dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.x = shifted(a.x, 2); }) == kMisaligned);
  CHECK(status([](Args& a) { a.out = shifted(a.out, 1); }) == kMisaligned);
  CHECK(status([](Args& a) { a.rows = 0; }) == cudaSuccess);
}

TEST_CASE("rms_norm refuses broken preconditions") {
  HostMatrix x(DType::kBFloat16, 2, 8);
  HostMatrix weight(DType::kFloat32, 1, 8);
  using Args = RmsNormArgs;
  Args good;
  good.x = x.data();
  good.out = x.data();
  good.weight = weight.floats();
  good.rows = 2;
  good.columns = 8;
  good.x_row_stride = 8;
  good.out_row_stride = 8;
  good.dtype = DType::kBFloat16;
  const auto status = [&](const auto& change) { return refused_status(&rms_norm, good, change); };
  CHECK(status([](Args& a) { a.x = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.weight = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.rows = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_row_stride = 7; }) == kInvalid);
  CHECK(status([](Args& a) { a.out_row_stride = 7; }) == kInvalid);
  CHECK(status([](Args& a) { a.dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.x = shifted(a.x, 1); }) == kMisaligned);
  CHECK(status([](Args& a) { a.rows = 0; }) == cudaSuccess);
}

TEST_CASE("gate_residual refuses broken preconditions") {
  HostMatrix x(DType::kFloat32, 2, 8);
  HostMatrix branch(DType::kBFloat16, 2, 8);
  HostMatrix gate(DType::kFloat32, 1, 8);
  using Args = GateResidualArgs;
  Args good;
  good.x = x.floats();
  good.branch = branch.data();
  good.gate = gate.floats();
  good.rows = 2;
  good.columns = 8;
  good.x_row_stride = 8;
  good.branch_row_stride = 8;
  good.branch_dtype = DType::kBFloat16;
  const auto status = [&](const auto& change) {
    return refused_status(&gate_residual, good, change);
  };
  CHECK(status([](Args& a) { a.x = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.branch = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.rows = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.columns = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_row_stride = 7; }) == kInvalid);
  CHECK(status([](Args& a) { a.branch_row_stride = 7; }) == kInvalid);
  CHECK(status([](Args& a) { a.rows_per_group = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.branch_dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.branch = shifted(a.branch, 1); }) == kMisaligned);
  CHECK(status([](Args& a) { a.x = shifted(a.x, 2); }) == kMisaligned);
  CHECK(status([](Args& a) { a.rows = 0; }) == cudaSuccess);
}
