// Floats to bytes: by groups of four where both sides lie alike in memory, else by pixels.
#include "device/launch.cuh"
#include "device/vec.cuh"
#include "t2v/kernels/frames_to_rgb8.h"
#include "t2v/kernels/video_shape.h"

namespace t2v::kernels {
namespace {

constexpr int kColours = 3;
constexpr int kThreads = 256;
constexpr int kWidth = full_width(sizeof(float));
constexpr int kItems = 4;  // groups of a thread, all loaded before the first is used

// v / 2 is exact but for values next to 0, so one rounding for v / 2 + 0.5. NaN: fmaxf takes the 0.
__device__ inline std::uint8_t byte_of(float v) {
  const float unit = fminf(fmaxf(fmaf(v, 0.5F, 0.5F), 0.0F), 1.0F);
  return static_cast<std::uint8_t>(rintf(unit * 255.0F));
}

// False for NaN too.
__device__ inline bool is_finite(float v) { return fabsf(v) <= 3.402823466e38F; }

// `size` numbers, one byte for each.
__device__ int convert_dense(const FramesToRgb8Args& args, std::int64_t size) {
  const std::int64_t block = std::int64_t{blockIdx.x} * (kThreads * kItems * kWidth);
  const auto group = [&](int item) {
    return block + (item * kThreads + static_cast<int>(threadIdx.x)) * kWidth;
  };
  Chunk<float, kWidth> values[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    if (group(item) + kWidth <= size) values[item] = load_chunk<kWidth>(args.frames + group(item));
  }
  int bad = 0;
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const std::int64_t first = group(item);
    if (first + kWidth <= size) {
      Chunk<std::uint8_t, kWidth> bytes;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        bytes.at[i] = byte_of(values[item].at[i]);
        bad += is_finite(values[item].at[i]) ? 0 : 1;
      }
      store_chunk(args.rgb8 + first, bytes);
    } else {
      for (std::int64_t i = first; i < size; ++i) {
        args.rgb8[i] = byte_of(args.frames[i]);
        bad += is_finite(args.frames[i]) ? 0 : 1;
      }
    }
  }
  return bad;
}

__device__ int convert_pixel(const FramesToRgb8Args& args, std::int64_t num_pixels) {
  const std::int64_t pixel = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (pixel >= num_pixels) return 0;
  const float* const from =
      args.frames + pixel_offset(static_cast<std::uint32_t>(pixel),
                                 static_cast<std::uint32_t>(args.height),
                                 static_cast<std::uint32_t>(args.width),
                                 {args.frame_stride, args.row_stride, args.pixel_stride});
  int bad = 0;
#pragma unroll
  for (int c = 0; c < kColours; ++c) {
    const float v = from[c * args.channel_stride];
    args.rgb8[pixel * kColours + c] = byte_of(v);
    bad += is_finite(v) ? 0 : 1;
  }
  return bad;
}

template <bool kDense>
__global__ void __launch_bounds__(kThreads)
    frames_to_rgb8_kernel(const __grid_constant__ FramesToRgb8Args args) {
  const std::int64_t num_pixels = args.num_frames * args.height * args.width;
  const int bad =
      kDense ? convert_dense(args, num_pixels * kColours) : convert_pixel(args, num_pixels);
  if (bad > 0 && args.non_finite) atomicAdd(args.non_finite, bad);
}

}  // namespace

cudaError_t frames_to_rgb8(const FramesToRgb8Args& args, cudaStream_t stream) noexcept {
  const VideoSize size{args.num_frames, args.height, args.width, kColours};
  if (!valid_video(size)) return cudaErrorInvalidValue;
  const std::int64_t pixels = num_pixels(size);
  if (pixels == 0) return cudaSuccess;
  if (!args.frames || !args.rgb8 || !valid_stride(args.channel_stride, kColours) ||
      !valid_stride(args.frame_stride, args.num_frames) ||
      !valid_stride(args.row_stride, args.height) || !valid_stride(args.pixel_stride, args.width)) {
    return cudaErrorInvalidValue;
  }
  if (address_of(args.frames) % sizeof(float) != 0 ||
      address_of(args.non_finite) % sizeof(int) != 0) {
    return cudaErrorMisalignedAddress;
  }
  const auto follows = [](std::int64_t count, std::int64_t stride, std::int64_t dense) {
    return count == 1 || stride == dense;
  };
  const bool dense =
      args.channel_stride == 1 && follows(args.width, args.pixel_stride, kColours) &&
      follows(args.height, args.row_stride, kColours * args.width) &&
      follows(args.num_frames, args.frame_stride, kColours * args.width * args.height) &&
      address_of(args.frames) % kAccessBytes == 0 && address_of(args.rgb8) % kWidth == 0;
  if (!dense)
    return launch_blocks(frames_to_rgb8_kernel<false>, divide_up(pixels, kThreads), kThreads,
                         stream, args);
  const std::int64_t blocks = divide_up(pixels * kColours, kThreads * kItems * kWidth);
  return launch_blocks(frames_to_rgb8_kernel<true>, blocks, kThreads, stream, args);
}

}  // namespace t2v::kernels
