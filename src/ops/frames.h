// Frames of the decoder -> pictures of bytes.
#pragma once

#include <ATen/core/Tensor.h>

namespace t2v::ops {

// frames [3, m, H, W] fp32 in [-1, 1], any strides -> uint8 [m, H, W, 3] on the CPU, contiguous:
// round((v / 2 + 0.5) limited to 0..1, times 255), ties to even; NaN becomes 0.
at::Tensor frames_to_rgb8(const at::Tensor& frames);

}  // namespace t2v::ops
