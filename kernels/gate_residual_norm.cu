// Gated residual addition with the next LayerNorm: one block per row, the sums in registers.
#include "device/gated_sum.cuh"
#include "device/launch.cuh"
#include "device/reduce.cuh"
#include "t2v/kernels/gate_residual_norm.h"

namespace t2v::kernels {
namespace {

template <typename Branch, typename Out, typename Walk>
__global__ void __launch_bounds__(kMaxThreads, 1)
    gate_residual_norm_kernel(const __grid_constant__ GateResidualNormArgs args) {
  constexpr int kWidth = Walk::kWidth;
  __shared__ float sum_parts[kWarpSize];
  __shared__ float square_parts[kWarpSize];

  const std::int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns);
  const std::int64_t group = group_of_row(row, args.rows_per_group);
  Sums<Walk> x(args.x + row * args.x_row_stride);
  const float sum = add_branch<Branch, Walk>(args, row, group, x);
  const float mean = block_sum(sum, sum_parts) / static_cast<float>(columns);

  float squares = 0.0F;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    if (Walk::column(item) >= columns) continue;
    const Chunk<float, kWidth> chunk = x[item];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float centred = chunk.at[i] - mean;
      squares += centred * centred;
    }
  }
  const float variance = block_sum(squares, square_parts) / static_cast<float>(columns);
  const float scale_of_row = rsqrtf(variance + args.eps);

  const float* const scale = args.scale + group * args.norm_group_stride;
  const float* const shift = args.shift + group * args.norm_group_stride;
  const float scale_offset = args.modulation == Modulation::kScaleShift ? 1.0F : 0.0F;
  Out* const out = static_cast<Out*>(args.out) + row * args.out_row_stride;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    const int column = Walk::column(item);
    if (column >= columns) continue;
    const Chunk<float, kWidth> chunk = x[item];
    const Chunk<float, kWidth> a = Walk::load(scale + column);
    const Chunk<float, kWidth> b = Walk::load(shift + column);
    Chunk<Out, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float normal = (chunk.at[i] - mean) * scale_of_row;
      from_float(normal * (scale_offset + a.at[i]) + b.at[i], result.at[i]);
    }
    Walk::store(out + column, result);
  }
}

}  // namespace

cudaError_t gate_residual_norm(const GateResidualNormArgs& args, cudaStream_t stream) noexcept {
  if (!valid_shape(args.rows, args.columns)) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  const RowOperand operands[] = {
      {address_of(args.x), args.x_row_stride, 4},
      {address_of(args.branch), args.branch_row_stride, element_bytes(args.branch_dtype)},
      {address_of(args.out), args.out_row_stride, element_bytes(args.out_dtype)},
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
  for (const RowOperand& operand : operands) {
    if (!element_aligned(operand)) return cudaErrorMisalignedAddress;
  }

  GateResidualNormArgs launched = args;
  if (launched.rows_per_group == 0) launched.rows_per_group = args.rows;
  constexpr int kWide = full_width(sizeof(float));
  const bool vectorised = choose_width(operands, 6, args.columns, kWide, 1) == kWide;
  return with_type(args.branch_dtype, [&](auto branch) {
    return with_type(args.out_dtype, [&](auto out) {
      using Branch = typename decltype(branch)::type;
      using Out = typename decltype(out)::type;
      const auto kernel = vectorised ? gate_residual_norm_kernel<Branch, Out, WideWalk<float>>
                                     : gate_residual_norm_kernel<Branch, Out, ElementWalk>;
      return launch_rows(kernel, args.rows, args.columns, stream, launched);
    });
  });
}

}  // namespace t2v::kernels
