// Bias and residual of a convolution: 4 to 32 lanes of a warp per pixel.
#include "device/launch.cuh"
#include "device/pixels.cuh"
#include "t2v/kernels/add_bias_residual.h"

namespace t2v::kernels {
namespace {

constexpr int kPixelBlocks = 4;      // at once on a multiprocessor: 64 registers per thread
constexpr int kValuesPerBatch = 16;  // of a lane: all loaded before the first is stored

template <typename Y, typename Out, int kWidth>
__global__ void __launch_bounds__(kPixelThreads, kPixelBlocks)
    add_bias_residual_kernel(const __grid_constant__ AddBiasResidualArgs args) {
  // Single elements go one by one: their addresses would fill the registers.
  constexpr int kItems = kWidth == 1 ? 1 : kValuesPerBatch / kWidth;
  const PixelLane at = pixel_lane(args.size);
  const Y* const y = pixel_pointer(static_cast<const Y*>(args.y), args.size, args.y_strides, at);
  const Out* const residual = args.residual ? pixel_pointer(static_cast<const Out*>(args.residual),
                                                            args.size, args.residual_strides, at)
                                            : nullptr;
  Out* const out = pixel_pointer(static_cast<Out*>(args.out), args.size, args.out_strides, at);
  const int step = at.lanes * kWidth;  // from one item of a lane to the next
  for (int first = at.lane * kWidth; first < at.channels; first += step * kItems) {
    Chunk<Y, kWidth> values[kItems] = {};
    Chunk<Out, kWidth> added[kItems] = {};
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int column = first + item * step;
      if (column >= at.channels) continue;
      values[item] = load_chunk<kWidth>(y + column);
      if (residual) added[item] = load_chunk<kWidth>(residual + column);
    }
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int column = first + item * step;
      if (column >= at.channels) continue;
      const Chunk<float, kWidth> bias = load_chunk<kWidth>(args.bias + column);
      Chunk<Out, kWidth> result;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        float sum = to_float(values[item].at[i]) + bias.at[i];
        if (residual) sum += to_float(added[item].at[i]);
        from_float(sum, result.at[i]);
      }
      store_chunk(out + column, result);
    }
  }
}

}  // namespace

cudaError_t add_bias_residual(const AddBiasResidualArgs& args, cudaStream_t stream) noexcept {
  if (!valid_video(args.size) || args.size.channels > kMaxColumns) return cudaErrorInvalidValue;
  if (num_pixels(args.size) == 0) return cudaSuccess;
  const int y_bytes = element_bytes(args.y_dtype);
  const int out_bytes = element_bytes(args.out_dtype);
  const VideoOperand operands[] = {
      {address_of(args.y), args.y_strides, y_bytes},
      {address_of(args.out), args.out_strides, out_bytes},
      {address_of(args.residual), args.residual ? args.residual_strides : VideoStrides{},
       out_bytes},
      {address_of(args.bias), {}, 4}};
  const int num_matrices = args.residual ? 3 : 2;
  for (int i = 0; i < num_matrices; ++i) {
    if (!valid_operand(operands[i], args.size)) return cudaErrorInvalidValue;
  }
  if (!args.bias) return cudaErrorInvalidValue;
  bool wide = true;
  for (const VideoOperand& operand : operands) {
    if (!element_aligned(operand)) return cudaErrorMisalignedAddress;
    wide = wide && allows_width(operand, args.size.channels, full_width(y_bytes));
  }
  return with_type(args.y_dtype, [&](auto y) {
    return with_type(args.out_dtype, [&](auto out) {
      using Y = typename decltype(y)::type;
      using Out = typename decltype(out)::type;
      const auto kernel = wide ? add_bias_residual_kernel<Y, Out, full_width(sizeof(Y))>
                               : add_bias_residual_kernel<Y, Out, 1>;
      return launch_blocks(kernel, blocks_for(args.size), kPixelThreads, stream, args);
    });
  });
}

}  // namespace t2v::kernels
