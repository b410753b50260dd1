// Classifier-free guidance: uncond + scale * (cond - uncond), a part of the solver's step.
#pragma once

namespace t2v::sched {

// At scale 1 the result equals cond and the unconditional branch need not be run.
bool needs_uncond(double guidance_scale) noexcept;

}  // namespace t2v::sched
