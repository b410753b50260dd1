// Classifier-free guidance: uncond + scale * (cond - uncond).
#pragma once

#include <ATen/core/Tensor.h>

namespace t2v::sched {

// At scale 1 the result equals cond and the unconditional branch need not be run.
bool needs_uncond(double guidance_scale) noexcept;

// cond, uncond: fp32, same shape.
at::Tensor guide(const at::Tensor& cond, const at::Tensor& uncond, double guidance_scale);

}  // namespace t2v::sched
