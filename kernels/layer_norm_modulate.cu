// LayerNorm with modulation or affine weights: one block per row, the row in registers.
#include "device/launch.cuh"
#include "device/reduce.cuh"
#include "device/vec.cuh"
#include "t2v/kernels/layer_norm_modulate.h"

namespace t2v::kernels {
namespace {

template <typename In, typename Out, typename Walk>
__global__ void __launch_bounds__(kMaxThreads)
    layer_norm_modulate_kernel(const __grid_constant__ LayerNormModulateArgs args) {
  constexpr int kWidth = Walk::kWidth;
  __shared__ float sum_parts[kWarpSize];
  __shared__ float square_parts[kWarpSize];

  const std::int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns);
  const typename Walk::template Row<In> x(static_cast<const In*>(args.x) + row * args.x_row_stride,
                                          columns);
  float sum = 0.0F;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    if (Walk::column(item) >= columns) continue;
    const Chunk<In, kWidth> chunk = x[item];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum += to_float(chunk.at[i]);
  }
  const float mean = block_sum(sum, sum_parts) / static_cast<float>(columns);

  float squares = 0.0F;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    if (Walk::column(item) >= columns) continue;
    const Chunk<In, kWidth> chunk = x[item];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float centred = to_float(chunk.at[i]) - mean;
      squares += centred * centred;
    }
  }
  const float variance = block_sum(squares, square_parts) / static_cast<float>(columns);
  const float scale_of_row = rsqrtf(variance + args.eps);

  const std::int64_t group = group_of_row(row, args.rows_per_group) * args.group_stride;
  const float* const scale = args.scale + group;
  const float* const shift = args.shift + group;
  const float scale_offset = args.modulation == Modulation::kScaleShift ? 1.0F : 0.0F;
  Out* const out = static_cast<Out*>(args.out) + row * args.out_row_stride;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    const int column = Walk::column(item);
    if (column >= columns) continue;
    const Chunk<In, kWidth> chunk = x[item];
    const Chunk<float, kWidth> a = Walk::load(scale + column);
    const Chunk<float, kWidth> b = Walk::load(shift + column);
    Chunk<Out, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float normal = (to_float(chunk.at[i]) - mean) * scale_of_row;
      from_float(normal * (scale_offset + a.at[i]) + b.at[i], result.at[i]);
    }
    Walk::store(out + column, result);
  }
}

}  // namespace

cudaError_t layer_norm_modulate(const LayerNormModulateArgs& args, cudaStream_t stream) noexcept {
  if (!valid_shape(args.rows, args.columns)) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  const RowOperand operands[] = {
      {address_of(args.x), args.x_row_stride, element_bytes(args.x_dtype)},
      {address_of(args.out), args.out_row_stride, element_bytes(args.out_dtype)},
      {address_of(args.scale), args.group_stride, 4},
      {address_of(args.shift), args.group_stride, 4}};
  if (!valid_matrix(operands[0], args.columns) || !valid_matrix(operands[1], args.columns) ||
      !args.scale || !args.shift || !valid_groups(args.rows_per_group, args.group_stride)) {
    return cudaErrorInvalidValue;
  }
  for (const RowOperand& operand : operands) {
    if (!element_aligned(operand)) return cudaErrorMisalignedAddress;
  }

  LayerNormModulateArgs launched = args;
  if (launched.rows_per_group == 0) launched.rows_per_group = args.rows;
  const int wide = full_width(operands[0].bytes_per_element);
  const bool vectorised = choose_width(operands, 4, args.columns, wide, 1) == wide;
  return with_type(args.x_dtype, [&](auto in) {
    return with_type(args.out_dtype, [&](auto out) {
      using In = typename decltype(in)::type;
      using Out = typename decltype(out)::type;
      const auto kernel = vectorised ? layer_norm_modulate_kernel<In, Out, WideWalk<In>>
                                     : layer_norm_modulate_kernel<In, Out, ElementWalk>;
      return launch_rows(kernel, args.rows, args.columns, stream, launched);
    });
  });
}

}  // namespace t2v::kernels
