// Index arithmetic of kernels on videos with channels last, [frames, height, width, channels]:
// several neighbouring lanes of a warp serve one pixel. Tested on the host.
#pragma once

#include <cstdint>

#include "t2v/kernels/launch_shape.h"

namespace t2v::kernels {

struct VideoSize {
  std::int64_t frames = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
};

// Elements from one frame, row, pixel to the next; channels are dense. What has one entry only
// counts as 0.
struct VideoStrides {
  std::int64_t frame = 0;
  std::int64_t row = 0;
  std::int64_t pixel = 0;
};

struct VideoOperand {
  std::uintptr_t address = 0;
  VideoStrides strides;
  int bytes_per_element = 0;
};

constexpr int kPixelThreads = 256;
constexpr int kMinLanes = 4;
constexpr int kValuesPerLane = 32;
constexpr std::int64_t kMaxChannels = std::int64_t{kValuesPerLane} * kWarpSize;
// Sums of three products of index and stride, in bytes, stay below 2^63.
constexpr std::int64_t kMaxVideoSpan = std::int64_t{1} << 58;

// Lanes that serve one pixel: a power of two from kMinLanes to a warp, enough for kValuesPerLane
// channels each where a warp is enough at all.
T2V_HOST_DEVICE constexpr int lanes_for(std::int64_t channels) {
  int lanes = kMinLanes;
  while (lanes < kWarpSize && std::int64_t{lanes} * kValuesPerLane < channels) lanes *= 2;
  return lanes;
}

// First element of pixel number `pixel` of frames x height x width.
T2V_HOST_DEVICE constexpr std::int64_t pixel_offset(std::uint32_t pixel, std::uint32_t height,
                                                    std::uint32_t width,
                                                    const VideoStrides& strides) {
  const std::uint32_t line = pixel / width;
  const std::uint32_t frame = line / height;
  return frame * strides.frame + (line - frame * height) * strides.row +
         (pixel - line * width) * strides.pixel;
}

// Pixels are counted in 31 bits. No pixels are valid (nothing to do).
constexpr bool valid_video(const VideoSize& size) {
  if (size.frames < 0 || size.height < 0 || size.width < 0 || size.channels < 1) return false;
  if (size.frames > kMaxBlocks || size.height > kMaxBlocks || size.width > kMaxBlocks) return false;
  const std::int64_t plane = size.height * size.width;
  return plane <= kMaxBlocks && (plane == 0 || size.frames <= kMaxBlocks / plane);
}

constexpr std::int64_t num_pixels(const VideoSize& size) {
  return size.frames * size.height * size.width;
}

constexpr bool valid_stride(std::int64_t stride, std::int64_t count) {
  return stride >= 0 && (count <= 1 || stride <= kMaxVideoSpan / count);
}

// Neighbouring pixels do not overlap; that rows and frames do not is the caller's promise.
constexpr bool valid_operand(const VideoOperand& operand, const VideoSize& size) {
  return operand.address != 0 && operand.bytes_per_element > 0 &&
         valid_stride(operand.strides.frame, size.frames) &&
         valid_stride(operand.strides.row, size.height) &&
         valid_stride(operand.strides.pixel, size.width) &&
         (size.width <= 1 || operand.strides.pixel >= size.channels);
}

constexpr bool element_aligned(const VideoOperand& operand) {
  return operand.address % static_cast<std::uintptr_t>(operand.bytes_per_element) == 0;
}

// True when chunks of `width` channels of every pixel start at multiples of their access.
constexpr bool allows_width(const VideoOperand& operand, std::int64_t channels, int width) {
  const int access = access_bytes(width, operand.bytes_per_element);
  const auto whole = [&](std::int64_t stride) {
    return stride * operand.bytes_per_element % access == 0;
  };
  return channels % width == 0 && operand.address % static_cast<std::uintptr_t>(access) == 0 &&
         whole(operand.strides.frame) && whole(operand.strides.row) && whole(operand.strides.pixel);
}

}  // namespace t2v::kernels
