// LayerNorm with rotated int8 rows: one block per row, one warp per group of 256 columns.
#include "device/launch.cuh"
#include "device/row_norm.cuh"
#include "t2v/kernels/layer_norm_quantise.h"

namespace t2v::kernels {
namespace {

template <typename In>
__global__ void __launch_bounds__(kMaxThreads)
    layer_norm_quantise_kernel(const __grid_constant__ LayerNormQuantiseArgs args) {
  __shared__ RowNormParts parts;
  const std::int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns);
  RowValues x = {};
  const float sum = load_row(static_cast<const In*>(args.x) + row * args.x_row_stride, columns, x);
  const std::int64_t group = group_of_row(row, args.rows_per_group) * args.group_stride;
  normalise_row(x, columns, sum,
                {args.scale + group, args.shift + group, args.modulation, args.eps}, parts);
  store_byte_row<Int8Levels>(x, columns, args.rotation_group, parts.maxima, args.row_scale + row,
                             args.out + row * args.out_row_stride);
}

}  // namespace

cudaError_t layer_norm_quantise(const LayerNormQuantiseArgs& args, cudaStream_t stream) noexcept {
  if (!valid_shape(args.rows, args.columns) || !valid_rotation(args.rotation_group, args.columns)) {
    return cudaErrorInvalidValue;
  }
  if (args.rows == 0) return cudaSuccess;
  const RowOperand operands[] = {
      {address_of(args.x), args.x_row_stride, element_bytes(args.x_dtype)},
      {address_of(args.out), args.out_row_stride, 1},
      {address_of(args.scale), args.group_stride, 4},
      {address_of(args.shift), args.group_stride, 4}};
  if (!valid_matrix(operands[0], args.columns) || !valid_matrix(operands[1], args.columns) ||
      !args.scale || !args.shift || !valid_groups(args.rows_per_group, args.group_stride)) {
    return cudaErrorInvalidValue;
  }
  const cudaError_t checked = check_byte_rows(operands, args.row_scale, args.columns);
  if (checked != cudaSuccess) return checked;

  LayerNormQuantiseArgs launched = args;
  if (launched.rows_per_group == 0) launched.rows_per_group = args.rows;
  return with_type(args.x_dtype, [&](auto in) {
    using In = typename decltype(in)::type;
    return launch_rows(layer_norm_quantise_kernel<In>, args.rows, args.columns, stream, launched);
  });
}

}  // namespace t2v::kernels
