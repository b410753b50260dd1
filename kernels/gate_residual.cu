// Gated residual addition: one block per row.
#include "device/gated_sum.cuh"
#include "device/launch.cuh"
#include "device/vec.cuh"
#include "t2v/kernels/gate_residual.h"

namespace t2v::kernels {
namespace {

template <typename Branch, typename Walk>
__global__ void __launch_bounds__(kMaxThreads)
    gate_residual_kernel(const __grid_constant__ GateResidualArgs args) {
  const std::int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns);
  float* const x = args.x + row * args.x_row_stride;
  const typename Walk::template Row<float> old(x, columns);
  const typename Walk::template Row<Branch> branch(
      static_cast<const Branch*>(args.branch) + row * args.branch_row_stride, columns);
  const float* const gate =
      args.gate ? args.gate + group_of_row(row, args.rows_per_group) * args.group_stride : nullptr;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    const int column = Walk::column(item);
    if (column >= columns) continue;
    Walk::store(x + column,
                add_gated<Walk, Branch>(old[item], branch[item], gate ? gate + column : nullptr));
  }
}

}  // namespace

cudaError_t gate_residual(const GateResidualArgs& args, cudaStream_t stream) noexcept {
  if (!valid_shape(args.rows, args.columns)) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  const RowOperand operands[] = {
      {address_of(args.x), args.x_row_stride, 4},
      {address_of(args.branch), args.branch_row_stride, element_bytes(args.branch_dtype)},
      {address_of(args.gate), args.group_stride, 4}};
  if (!valid_matrix(operands[0], args.columns) || !valid_matrix(operands[1], args.columns) ||
      !valid_groups(args.rows_per_group, args.group_stride)) {
    return cudaErrorInvalidValue;
  }
  for (const RowOperand& operand : operands) {
    if (!element_aligned(operand)) return cudaErrorMisalignedAddress;
  }

  GateResidualArgs launched = args;
  if (launched.rows_per_group == 0) launched.rows_per_group = args.rows;
  constexpr int kWide = full_width(sizeof(float));
  const bool vectorised = choose_width(operands, 3, args.columns, kWide, 1) == kWide;
  return with_type(args.branch_dtype, [&](auto type) {
    using Branch = typename decltype(type)::type;
    const auto kernel = vectorised ? gate_residual_kernel<Branch, WideWalk<float>>
                                   : gate_residual_kernel<Branch, ElementWalk>;
    return launch_rows(kernel, args.rows, args.columns, stream, launched);
  });
}

}  // namespace t2v::kernels
