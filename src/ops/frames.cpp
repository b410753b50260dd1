#include "ops/frames.h"

#include <ATen/ops/empty.h>

#include "core/check.h"
#include "ops/op_timer.h"

namespace t2v::ops {

void frames_to_rgb8(const at::Tensor& frames, const at::Tensor& rgb8,
                    const at::Tensor& non_finite) {
  T2V_ASSERT(frames.dim() == 4 && frames.size(0) == 3 && frames.scalar_type() == at::kFloat);
  T2V_ASSERT(rgb8.sizes() == at::IntArrayRef({frames.size(1), frames.size(2), frames.size(3), 3}) &&
             rgb8.scalar_type() == at::kByte && rgb8.is_contiguous() &&
             rgb8.device() == frames.device());
  T2V_ASSERT(!non_finite.defined() ||
             (non_finite.numel() == 1 && non_finite.scalar_type() == at::kInt &&
              non_finite.device() == frames.device()));
  const TimedOp timed("frames_to_rgb8", frames);
  op_table(frames.device().type()).frames_to_rgb8(frames, rgb8, non_finite);
}

at::Tensor frames_to_rgb8(const at::Tensor& frames) {
  T2V_ASSERT(frames.dim() == 4);
  const at::Tensor rgb8 = at::empty({frames.size(1), frames.size(2), frames.size(3), 3},
                                    frames.options().dtype(at::kByte));
  frames_to_rgb8(frames, rgb8, {});
  return rgb8.to(at::kCPU);
}

}  // namespace t2v::ops
