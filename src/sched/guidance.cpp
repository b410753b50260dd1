#include "sched/guidance.h"

namespace t2v::sched {

bool needs_uncond(double guidance_scale) noexcept { return guidance_scale != 1.0; }

}  // namespace t2v::sched
