// RMSNorm over rows: one block per row, the row in registers.
#include "device/launch.cuh"
#include "device/reduce.cuh"
#include "device/vec.cuh"
#include "t2v/kernels/rms_norm.h"

namespace t2v::kernels {
namespace {

template <typename T, typename Walk>
__global__ void __launch_bounds__(kMaxThreads)
    rms_norm_kernel(const __grid_constant__ RmsNormArgs args) {
  constexpr int kWidth = Walk::kWidth;
  __shared__ float square_parts[kWarpSize];

  const std::int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns);
  const typename Walk::template Row<T> x(static_cast<const T*>(args.x) + row * args.x_row_stride,
                                         columns);
  float squares = 0.0F;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    if (Walk::column(item) >= columns) continue;
    const Chunk<T, kWidth> chunk = x[item];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) squares += to_float(chunk.at[i]) * to_float(chunk.at[i]);
  }
  const float mean_square = block_sum(squares, square_parts) / static_cast<float>(columns);
  const float scale_of_row = rsqrtf(mean_square + args.eps);

  T* const out = static_cast<T*>(args.out) + row * args.out_row_stride;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    const int column = Walk::column(item);
    if (column >= columns) continue;
    const Chunk<T, kWidth> chunk = x[item];
    const Chunk<float, kWidth> weight = Walk::load(args.weight + column);
    Chunk<T, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      from_float(to_float(chunk.at[i]) * scale_of_row * weight.at[i], result.at[i]);
    }
    Walk::store(out + column, result);
  }
}

}  // namespace

cudaError_t rms_norm(const RmsNormArgs& args, cudaStream_t stream) noexcept {
  if (!valid_shape(args.rows, args.columns)) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  const int bytes = element_bytes(args.dtype);
  const RowOperand operands[] = {{address_of(args.x), args.x_row_stride, bytes},
                                 {address_of(args.out), args.out_row_stride, bytes},
                                 {address_of(args.weight), 0, 4}};
  if (!valid_matrix(operands[0], args.columns) || !valid_matrix(operands[1], args.columns) ||
      !args.weight) {
    return cudaErrorInvalidValue;
  }
  for (const RowOperand& operand : operands) {
    if (!element_aligned(operand)) return cudaErrorMisalignedAddress;
  }

  const int wide = full_width(bytes);
  const bool vectorised = choose_width(operands, 3, args.columns, wide, 1) == wide;
  return with_type(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto kernel =
        vectorised ? rms_norm_kernel<T, WideWalk<T>> : rms_norm_kernel<T, ElementWalk>;
    return launch_rows(kernel, args.rows, args.columns, stream, args);
  });
}

}  // namespace t2v::kernels
