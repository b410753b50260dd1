// gate_residual_norm's own source, run on the host (host_cuda/), against its definition in fp64,
// and against the two kernels that it stands for.
#include <catch2/catch.hpp>

#include "host_cuda/host_cuda.h"
#include "host_matrix.h"
#include "t2v/kernels/gate_residual.h"
#include "t2v/kernels/gate_residual_norm.h"

using namespace t2v::kernels;

namespace {

constexpr DType kAll[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};
constexpr std::int64_t kRows = 4;

struct Layout {
  std::int64_t columns, extra_stride, offset;
};
constexpr Layout kLayouts[] = {
    {1, 0, 0},   {7, 0, 0},    {8, 8, 0},    {31, 2, 3},   {96, 0, 0},    {96, 0, 1},   {96, 1, 0},
    {520, 8, 8}, {1536, 0, 0}, {5120, 8, 0}, {5121, 0, 0}, {16384, 0, 0}, {16383, 1, 1}};

struct Problem {
  Problem(const Layout& l, DType branch_dtype, DType out_dtype)
      : x(DType::kFloat32, kRows, l.columns, l.extra_stride, l.offset),
        branch(branch_dtype, kRows, l.columns, l.extra_stride, l.offset),
        out(out_dtype, kRows, l.columns, l.extra_stride, l.offset),
        gate(DType::kFloat32, 2, l.columns),
        scale(DType::kFloat32, 2, l.columns),
        shift(DType::kFloat32, 2, l.columns) {
    x.fill_normal(1, 0.5F);
    branch.fill_normal(2);
    gate.fill_normal(3);
    scale.fill_normal(4);
    shift.fill_normal(5);
  }
  GateResidualNormArgs args() {
    GateResidualNormArgs a;
    a.x = x.floats();
    a.branch = branch.data();
    a.gate = gate.floats();
    a.scale = scale.floats();
    a.shift = shift.floats();
    a.out = out.data();
    a.rows = kRows;
    a.columns = x.columns();
    a.x_row_stride = x.stride();
    a.branch_row_stride = branch.stride();
    a.out_row_stride = out.stride();
    a.rows_per_group = 2;
    a.gate_group_stride = gate.stride();
    a.norm_group_stride = scale.stride();
    a.branch_dtype = branch.dtype();
    a.out_dtype = out.dtype();
    return a;
  }
  HostMatrix x, branch, out, gate, scale, shift;
};

// Elements of x and out that are not what the definition makes of `before`.
std::int64_t wrong(const Problem& p, const HostMatrix& before, const GateResidualNormArgs& args) {
  std::int64_t count = 0;
  const std::int64_t columns = before.columns();
  const double offset = args.modulation == Modulation::kScaleShift ? 1.0 : 0.0;
  for (std::int64_t r = 0; r < kRows; ++r) {
    const std::int64_t gate_group = args.gate_group_stride > 0 ? r / 2 : 0;
    const std::int64_t norm_group = args.norm_group_stride > 0 ? r / 2 : 0;
    const auto sum = [&](std::int64_t c) {
      return before.get(r, c) + p.branch.get(r, c) * (args.gate ? p.gate.get(gate_group, c) : 1.0);
    };
    double mean = 0;
    double variance = 0;
    for (std::int64_t c = 0; c < columns; ++c) mean += sum(c) / static_cast<double>(columns);
    for (std::int64_t c = 0; c < columns; ++c)
      variance += (sum(c) - mean) * (sum(c) - mean) / static_cast<double>(columns);
    for (std::int64_t c = 0; c < columns; ++c) {
      const double normal = (sum(c) - mean) / std::sqrt(variance + 1e-6);
      const double y = normal * (offset + p.scale.get(norm_group, c)) + p.shift.get(norm_group, c);
      count += !close(p.x.get(r, c), sum(c), DType::kFloat32);
      count += !close(p.out.get(r, c), y, p.out.dtype());
    }
  }
  return count;
}

}  // namespace

TEST_CASE("gate_residual_norm follows its definition for all types, widths and alignments") {
  for (const Layout& l : kLayouts) {
    for (const DType branch : kAll) {
      for (const DType out : kAll) {
        if (l.columns > 10000 && branch != out) continue;
        for (const int variant : {0, 1, 2}) {
          CAPTURE(l.columns, l.extra_stride, l.offset, static_cast<int>(branch),
                  static_cast<int>(out), variant);
          Problem problem(l, branch, out);
          const HostMatrix before = problem.x;
          GateResidualNormArgs args = problem.args();
          if (variant == 1) args.gate = nullptr;
          if (variant == 2) {  // a gate for each group, affine weights for all
            args.modulation = Modulation::kAffine;
            args.norm_group_stride = 0;
          }
          REQUIRE(gate_residual_norm(args, nullptr) == cudaSuccess);
          CHECK(wrong(problem, before, args) == 0);
          CHECK(problem.x.surroundings_intact());
          CHECK(problem.out.surroundings_intact());
        }
      }
    }
  }
}

TEST_CASE("gate_residual_norm with one operand off alignment") {
  for (int which = 0; which < 5; ++which) {
    CAPTURE(which);
    Problem problem({96, 0, 0}, DType::kBFloat16, DType::kBFloat16);
    HostMatrix* const operands[] = {&problem.branch, &problem.out, &problem.gate, &problem.scale,
                                    &problem.shift};
    HostMatrix& odd = *operands[which];
    HostMatrix moved(odd.dtype(), odd.rows(), odd.columns(), 0, 1);
    moved.fill_normal(7);
    odd = moved;
    const HostMatrix before = problem.x;
    const GateResidualNormArgs args = problem.args();
    REQUIRE(gate_residual_norm(args, nullptr) == cudaSuccess);
    CHECK(wrong(problem, before, args) == 0);
  }
}

TEST_CASE("gate_residual_norm has the bits of the two kernels one after the other") {
  for (const Layout& l : {Layout{1536, 0, 0}, Layout{97, 0, 0}}) {
    Problem fused(l, DType::kBFloat16, DType::kBFloat16);
    Problem two(l, DType::kBFloat16, DType::kBFloat16);
    GateResidualNormArgs args = fused.args();
    args.rows_per_group = 0;
    REQUIRE(gate_residual_norm(args, nullptr) == cudaSuccess);
    GateResidualArgs add;
    add.x = two.x.floats();
    add.branch = two.branch.data();
    add.gate = two.gate.floats();
    add.rows = kRows;
    add.columns = l.columns;
    add.x_row_stride = two.x.stride();
    add.branch_row_stride = two.branch.stride();
    add.branch_dtype = DType::kBFloat16;
    REQUIRE(gate_residual(add, nullptr) == cudaSuccess);
    LayerNormModulateArgs norm;
    norm.x = two.x.data();
    norm.out = two.out.data();
    norm.scale = two.scale.floats();
    norm.shift = two.shift.floats();
    norm.rows = kRows;
    norm.columns = l.columns;
    norm.x_row_stride = two.x.stride();
    norm.out_row_stride = two.out.stride();
    norm.out_dtype = DType::kBFloat16;
    REQUIRE(layer_norm_modulate(norm, nullptr) == cudaSuccess);
    std::int64_t different = 0;
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t c = 0; c < l.columns; ++c) {
        different += fused.x.get(r, c) != two.x.get(r, c);
        different += fused.out.get(r, c) != two.out.get(r, c);
      }
    }
    CHECK(different == 0);
  }
}

TEST_CASE("gate_residual_norm refuses broken preconditions") {
  Problem problem({8, 0, 0}, DType::kBFloat16, DType::kBFloat16);
  const auto status = [&](const auto& change) {
    GateResidualNormArgs args = problem.args();
    change(args);
    const long before = t2v::host_cuda::num_blocks_run;
    const cudaError_t result = gate_residual_norm(args, nullptr);
    CHECK(t2v::host_cuda::num_blocks_run == before);
    return result;
  };
  using Args = GateResidualNormArgs;
  const auto refused = cudaErrorInvalidValue;
  CHECK(status([](Args& a) { a.x = nullptr; }) == refused);
  CHECK(status([](Args& a) { a.branch = nullptr; }) == refused);
  CHECK(status([](Args& a) { a.out = nullptr; }) == refused);
  CHECK(status([](Args& a) { a.scale = nullptr; }) == refused);
  CHECK(status([](Args& a) { a.shift = nullptr; }) == refused);
  CHECK(status([](Args& a) { a.rows = -1; }) == refused);
  CHECK(status([](Args& a) { a.columns = 0; }) == refused);
  CHECK(status([](Args& a) { a.columns = 16385; }) == refused);
  CHECK(status([](Args& a) { a.x_row_stride = 7; }) == refused);
  CHECK(status([](Args& a) { a.branch_row_stride = 7; }) == refused);
  CHECK(status([](Args& a) { a.out_row_stride = 7; }) == refused);
  CHECK(status([](Args& a) { a.gate_group_stride = -1; }) == refused);
  CHECK(status([](Args& a) { a.norm_group_stride = -1; }) == refused);
  CHECK(status([](Args& a) { a.rows_per_group = -1; }) == refused);
  CHECK(status([](Args& a) { a.branch_dtype = static_cast<DType>(9); }) == refused);
  CHECK(status([](Args& a) { a.out_dtype = static_cast<DType>(9); }) == refused);
  CHECK(status([](Args& a) { a.out = static_cast<char*>(a.out) + 1; }) ==
        cudaErrorMisalignedAddress);
  CHECK(status([](Args& a) { a.rows = 0; }) == cudaSuccess);
}
