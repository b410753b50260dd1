#include "sched/guidance.h"

#include <ATen/ops/add.h>
#include <ATen/ops/sub.h>

namespace t2v::sched {

bool needs_uncond(double guidance_scale) noexcept { return guidance_scale != 1.0; }

at::Tensor guide(const at::Tensor& cond, const at::Tensor& uncond, double guidance_scale) {
  return at::add(uncond, at::sub(cond, uncond), guidance_scale);
}

}  // namespace t2v::sched
