#include "ops/frames.h"

#include <ATen/ops/nan_to_num.h>

#include "core/check.h"

namespace t2v::ops {

at::Tensor frames_to_rgb8(const at::Tensor& frames) {
  T2V_ASSERT(frames.dim() == 4 && frames.size(0) == 3 && frames.scalar_type() == at::kFloat);
  at::Tensor v = frames.permute({1, 2, 3, 0}).div(2).add_(0.5).clamp_(0, 1).mul_(255).round_();
  return v.nan_to_num_(0).to(at::kCPU, at::kByte).contiguous();
}

}  // namespace t2v::ops
