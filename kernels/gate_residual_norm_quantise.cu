// Gated residual addition with the next LayerNorm as int8 rows: one block per row, the new row in
// registers.
#include "device/gated_sum.cuh"
#include "device/launch.cuh"
#include "device/row_norm.cuh"
#include "t2v/kernels/gate_residual_norm_quantise.h"

namespace t2v::kernels {
namespace {

template <typename Branch>
__global__ void __launch_bounds__(kMaxThreads, 1)
    gate_residual_norm_quantise_kernel(const __grid_constant__ GateResidualNormQuantiseArgs args) {
  __shared__ RowNormParts parts;
  const std::int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns);
  const std::int64_t group = group_of_row(row, args.rows_per_group);
  Sums<GroupWalk> sums(args.x + row * args.x_row_stride);
  const float sum = add_branch<Branch, GroupWalk>(args, row, group, sums);
  RowValues x = {};
#pragma unroll
  for (int item = 0; item < GroupWalk::kItems; ++item) {
    if (GroupWalk::column(item) >= columns) continue;
    const Chunk<float, GroupWalk::kWidth> chunk = sums[item];
#pragma unroll
    for (int i = 0; i < GroupWalk::kWidth; ++i) x[item][i] = chunk.at[i];
  }
  const std::int64_t vectors = group * args.norm_group_stride;
  normalise_row(x, columns, sum,
                {args.scale + vectors, args.shift + vectors, args.modulation, args.eps}, parts);
  store_byte_row<Int8Levels>(x, columns, args.rotation_group, parts.maxima, args.row_scale + row,
                             args.out + row * args.out_row_stride);
}

}  // namespace

cudaError_t gate_residual_norm_quantise(const GateResidualNormQuantiseArgs& args,
                                        cudaStream_t stream) noexcept {
  if (!valid_shape(args.rows, args.columns) || !valid_rotation(args.rotation_group, args.columns)) {
    return cudaErrorInvalidValue;
  }
  if (args.rows == 0) return cudaSuccess;
  const RowOperand operands[] = {
      {address_of(args.x), args.x_row_stride, 4},
      {address_of(args.branch), args.branch_row_stride, element_bytes(args.branch_dtype)},
      {address_of(args.out), args.out_row_stride, 1},
      {address_of(args.gate), args.gate_group_stride, 4},
      {address_of(args.scale), args.norm_group_stride, 4},
      {address_of(args.shift), args.norm_group_stride, 4}};
  for (int i = 0; i < 3; ++i) {
    if (!valid_matrix(operands[i], args.columns)) return cudaErrorInvalidValue;
  }
  if (!args.scale || !args.shift || !valid_groups(args.rows_per_group, args.gate_group_stride) ||
      !valid_groups(args.rows_per_group, args.norm_group_stride)) {
    return cudaErrorInvalidValue;
  }
  const cudaError_t checked = check_byte_rows(operands, args.row_scale, args.columns);
  if (checked != cudaSuccess) return checked;

  GateResidualNormQuantiseArgs launched = args;
  if (launched.rows_per_group == 0) launched.rows_per_group = args.rows;
  return with_type(args.branch_dtype, [&](auto branch) {
    using Branch = typename decltype(branch)::type;
    return launch_rows(gate_residual_norm_quantise_kernel<Branch>, args.rows, args.columns, stream,
                       launched);
  });
}

}  // namespace t2v::kernels
