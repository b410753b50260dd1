// The end of a convolution over video: bias and residual.
#pragma once

#include "ops/backend.h"

namespace t2v::ops {

// out = y + bias + residual, fp32 inside, rounded once. y, out [T, H, W, C] in any float types,
// residual in out's type, same shape, may be out itself; undefined for none. Channels dense, other
// strides free. bias fp32 [C].
void add_bias_residual(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& residual,
                       const at::Tensor& out);

}  // namespace t2v::ops
