// Frames of the decoder -> pictures of bytes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace t2v::kernels {

// frames fp32 [3, num_frames, height, width] with any strides (elements, >= 0), rgb8
// [num_frames, height, width, 3] dense; num_frames * height * width < 2^31. frames is aligned to 4
// bytes. Pixels that lie in memory as in rgb8 are read by 16-byte accesses where alignment allows.
struct FramesToRgb8Args {
  const float* frames = nullptr;
  std::uint8_t* rgb8 = nullptr;
  int* non_finite = nullptr;  // the number of NaN and infinite values is added here; null: not
  std::int64_t num_frames = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channel_stride = 0;
  std::int64_t frame_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t pixel_stride = 0;
};

// round((v / 2 + 0.5) limited to 0..1, times 255), ties to even; NaN becomes 0. The count is exact
// and does not depend on the order. cudaErrorInvalidValue or cudaErrorMisalignedAddress for broken
// preconditions, before any launch.
cudaError_t frames_to_rgb8(const FramesToRgb8Args& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
