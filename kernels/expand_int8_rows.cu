// int8 rows to numbers: one block per row, one warp per group of 256 columns.
#include "device/byte_rows.cuh"
#include "device/launch.cuh"
#include "device/rotate.cuh"
#include "t2v/kernels/expand_int8_rows.h"

namespace t2v::kernels {
namespace {

template <typename Out>
__global__ void __launch_bounds__(kMaxThreads)
    expand_int8_rows_kernel(const __grid_constant__ ExpandInt8RowsArgs args) {
  constexpr int kWidth = GroupWalk::kWidth;
  const std::int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns);
  const std::int8_t* const source = args.x + row * args.x_row_stride;
  Out* const out = static_cast<Out*>(args.out) + row * args.out_row_stride;
  const float scale = args.row_scale[row];
#pragma unroll
  for (int item = 0; item < GroupWalk::kItems; ++item) {
    const int column = GroupWalk::column(item);
    GroupValues x = {};
    if (column < columns) {
      const Chunk<std::int8_t, kWidth> chunk = load_chunk<kWidth>(source + column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) x[i] = static_cast<float>(chunk.at[i]);
    }
    rotate(x, args.rotation_group);
    if (column >= columns) continue;
    Chunk<Out, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) from_float(x[i] * scale, result.at[i]);
    store_chunk(out + column, result);
  }
}

}  // namespace

cudaError_t expand_int8_rows(const ExpandInt8RowsArgs& args, cudaStream_t stream) noexcept {
  if (!valid_shape(args.rows, args.columns) || !valid_rotation(args.rotation_group, args.columns)) {
    return cudaErrorInvalidValue;
  }
  if (args.rows == 0) return cudaSuccess;
  const RowOperand operands[] = {
      {address_of(args.x), args.x_row_stride, 1},
      {address_of(args.out), args.out_row_stride, element_bytes(args.out_dtype)}};
  if (!valid_matrix(operands[0], args.columns) || !valid_matrix(operands[1], args.columns)) {
    return cudaErrorInvalidValue;
  }
  const cudaError_t checked = check_byte_rows(operands, args.row_scale, args.columns);
  if (checked != cudaSuccess) return checked;
  return with_type(args.out_dtype, [&](auto out) {
    using Out = typename decltype(out)::type;
    return launch_rows(expand_int8_rows_kernel<Out>, args.rows, args.columns, stream, args);
  });
}

}  // namespace t2v::kernels
