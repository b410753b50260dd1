// Which pixel a thread works for, and its share of the channels.
#pragma once

#include "device/vec.cuh"
#include "t2v/kernels/video_shape.h"

namespace t2v::kernels {

// Lane `lane` of the `lanes` neighbouring threads that serve pixel number `pixel`. Threads past the
// last pixel have no channels: they do nothing but take part in shuffles.
struct PixelLane {
  std::uint32_t pixel;
  int lane;
  int lanes;
  int channels;
};

__device__ inline PixelLane pixel_lane(const VideoSize& size) {
  const int channels = static_cast<int>(size.channels);
  const auto lanes = static_cast<unsigned>(lanes_for(channels));
  const std::int64_t pixel =
      std::int64_t{blockIdx.x} * (kPixelThreads / lanes) + threadIdx.x / lanes;
  const bool inside = pixel < size.frames * size.height * size.width;
  return {inside ? static_cast<std::uint32_t>(pixel) : 0U, static_cast<int>(threadIdx.x % lanes),
          static_cast<int>(lanes), inside ? channels : 0};
}

template <typename T>
__device__ T* pixel_pointer(T* base, const VideoSize& size, const VideoStrides& strides,
                            const PixelLane& at) {
  return base + pixel_offset(at.pixel, static_cast<std::uint32_t>(size.height),
                             static_cast<std::uint32_t>(size.width), strides);
}

// Sum over the lanes of a pixel, in each of them. All threads of the warp take part.
__device__ inline float lanes_sum(float value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  }
  return value;
}

inline std::int64_t blocks_for(const VideoSize& size) {
  return divide_up(num_pixels(size), kPixelThreads / lanes_for(size.channels));
}

}  // namespace t2v::kernels
