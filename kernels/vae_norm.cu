// Norm of the VAE: 4 to 32 lanes of a warp per pixel, the pixel in registers.
#include "device/launch.cuh"
#include "device/pixels.cuh"
#include "t2v/kernels/vae_norm.h"

namespace t2v::kernels {
namespace {

constexpr float kMinLength = 1e-12F;

// At once on a multiprocessor: 64 registers per thread, which fp32 pixels do not fit everywhere.
template <typename T>
constexpr int kPixelBlocks = sizeof(T) == 2 ? 4 : 3;

// Channels of one lane. Wide: chunks of 16 bytes, held in registers. Narrow: single elements, read
// again where they are needed.
template <typename T, bool kNarrow>
class LaneValues {
 public:
  static constexpr int kWidth = kNarrow ? 1 : full_width(sizeof(T));
  static constexpr int kItems = kValuesPerLane / kWidth;
  static constexpr int kUnroll = kNarrow ? 1 : kItems;

  __device__ LaneValues(const T* pixel, const PixelLane& at) : pixel_(pixel), at_(at) {
    if constexpr (!kNarrow) {
#pragma unroll
      for (int item = 0; item < kItems; ++item) {
        if (column(item) < at.channels) held_[item] = load_chunk<kWidth>(pixel + column(item));
      }
    }
  }
  __device__ int column(int item) const { return first_column(item, at_.lane, at_.lanes, kWidth); }
  // With the bias. Only for items whose column is a channel.
  __device__ Chunk<float, kWidth> values(int item, const float* bias) const {
    Chunk<T, kWidth> chunk;
    if constexpr (kNarrow)
      chunk = load_elements<kWidth>(pixel_ + column(item));
    else
      chunk = held_[item];
    Chunk<float, kWidth> wide;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) wide.at[i] = to_float(chunk.at[i]);
    if (bias) {
      const Chunk<float, kWidth> added = load_chunk<kWidth>(bias + column(item));
#pragma unroll
      for (int i = 0; i < kWidth; ++i) wide.at[i] += added.at[i];
    }
    return wide;
  }

 private:
  const T* pixel_;
  PixelLane at_;
  Chunk<T, kWidth> held_[kNarrow ? 1 : kItems];
};

// 2^-x underflows to 0 and overflows to infinity in the right places: 0 and x come out.
__device__ inline float silu(float x) { return __fdividef(x, 1.0F + __expf(-x)); }

template <typename T, bool kNarrow>
__global__ void __launch_bounds__(kPixelThreads, kPixelBlocks<T>)
    vae_norm_kernel(const __grid_constant__ VaeNormArgs args) {
  using Values = LaneValues<T, kNarrow>;
  constexpr int kWidth = Values::kWidth;
  const PixelLane at = pixel_lane(args.size);
  const Values x(pixel_pointer(static_cast<const T*>(args.x), args.size, args.x_strides, at), at);
  float squares = 0.0F;
#pragma unroll Values::kUnroll
  for (int item = 0; item < Values::kItems; ++item) {
    if (x.column(item) >= at.channels) continue;
    const Chunk<float, kWidth> chunk = x.values(item, args.bias);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) squares += chunk.at[i] * chunk.at[i];
  }
  const float length = sqrtf(lanes_sum(squares, at.lanes));
  // A comparison that is false for NaN keeps NaN.
  const float scale =
      sqrtf(static_cast<float>(args.size.channels)) / (length < kMinLength ? kMinLength : length);
  T* const out = pixel_pointer(static_cast<T*>(args.out), args.size, args.out_strides, at);
#pragma unroll Values::kUnroll
  for (int item = 0; item < Values::kItems; ++item) {
    const int column = x.column(item);
    if (column >= at.channels) continue;
    const Chunk<float, kWidth> chunk = x.values(item, args.bias);
    const Chunk<float, kWidth> gamma = load_chunk<kWidth>(args.gamma + column);
    Chunk<T, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float y = chunk.at[i] * scale * gamma.at[i];
      from_float(args.silu ? silu(y) : y, result.at[i]);
    }
    if constexpr (kNarrow)
      store_elements(out + column, result);
    else
      store_chunk(out + column, result);
  }
}

}  // namespace

cudaError_t vae_norm(const VaeNormArgs& args, cudaStream_t stream) noexcept {
  if (!valid_video(args.size) || args.size.channels > kMaxChannels) return cudaErrorInvalidValue;
  if (num_pixels(args.size) == 0) return cudaSuccess;
  const int bytes = element_bytes(args.dtype);
  const VideoOperand operands[] = {{address_of(args.x), args.x_strides, bytes},
                                   {address_of(args.out), args.out_strides, bytes},
                                   {address_of(args.gamma), {}, 4},
                                   {address_of(args.bias), {}, 4}};
  if (!valid_operand(operands[0], args.size) || !valid_operand(operands[1], args.size) ||
      !args.gamma) {
    return cudaErrorInvalidValue;
  }
  bool wide = true;
  for (const VideoOperand& operand : operands) {
    if (!element_aligned(operand)) return cudaErrorMisalignedAddress;
    wide = wide && allows_width(operand, args.size.channels, full_width(bytes));
  }
  return with_type(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto kernel = wide ? vae_norm_kernel<T, false> : vae_norm_kernel<T, true>;
    return launch_blocks(kernel, blocks_for(args.size), kPixelThreads, stream, args);
  });
}

}  // namespace t2v::kernels
