// Frames of the decoder -> pictures of bytes.
#pragma once

#include "ops/backend.h"

namespace t2v::ops {

// frames [3, m, H, W] fp32 in [-1, 1], any strides -> rgb8 uint8 [m, H, W, 3], contiguous, on the
// same device: round((v / 2 + 0.5) limited to 0..1, times 255), ties to even; NaN becomes 0. The
// number of NaN and infinite values is added to non_finite, int32 [1] on that device (undefined:
// not counted). On CUDA nothing waits for the result.
void frames_to_rgb8(const at::Tensor& frames, const at::Tensor& rgb8, const at::Tensor& non_finite);

// The same into a new tensor on the CPU.
at::Tensor frames_to_rgb8(const at::Tensor& frames);

}  // namespace t2v::ops
