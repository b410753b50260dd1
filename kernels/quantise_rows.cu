// Rows to rotated bytes: one block per row, one warp per group of 256 columns.
#include "device/byte_rows.cuh"
#include "device/launch.cuh"
#include "t2v/kernels/quantise_rows.h"

namespace t2v::kernels {
namespace {

template <typename In, typename Levels>
__global__ void __launch_bounds__(kMaxThreads)
    quantise_rows_kernel(const __grid_constant__ QuantiseRowsArgs args) {
  __shared__ float maxima[kWarpSize];
  const std::int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns);
  RowValues x = {};
  load_row(static_cast<const In*>(args.x) + row * args.x_row_stride, columns, x);
  store_byte_row<Levels>(x, columns, args.rotation_group, maxima, args.row_scale + row,
                         static_cast<typename Levels::Byte*>(args.out) + row * args.out_row_stride);
}

}  // namespace

cudaError_t quantise_rows(const QuantiseRowsArgs& args, cudaStream_t stream) noexcept {
  if (!valid_shape(args.rows, args.columns) || !valid_rotation(args.rotation_group, args.columns) ||
      (args.out_type != ByteType::kInt8 && args.out_type != ByteType::kE4m3)) {
    return cudaErrorInvalidValue;
  }
  if (args.rows == 0) return cudaSuccess;
  const RowOperand operands[] = {
      {address_of(args.x), args.x_row_stride, element_bytes(args.x_dtype)},
      {address_of(args.out), args.out_row_stride, 1}};
  if (!valid_matrix(operands[0], args.columns) || !valid_matrix(operands[1], args.columns)) {
    return cudaErrorInvalidValue;
  }
  const cudaError_t checked = check_byte_rows(operands, args.row_scale, args.columns);
  if (checked != cudaSuccess) return checked;
  return with_type(args.x_dtype, [&](auto in) {
    using In = typename decltype(in)::type;
    const auto kernel = args.out_type == ByteType::kInt8 ? quantise_rows_kernel<In, Int8Levels>
                                                         : quantise_rows_kernel<In, E4m3Levels>;
    return launch_rows(kernel, args.rows, args.columns, stream, args);
  });
}

}  // namespace t2v::kernels
