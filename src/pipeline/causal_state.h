// Whether a saved state is one of a causal video.
#pragma once

#include <string>

#include "pipeline/causal_profile.h"
#include "pipeline/denoise_stage.h"
#include "pipeline/geometry.h"

namespace t2v::pipeline {

// geometry: of whole chunks. path: of the state's file, for the message. Throws Error{kInput}.
void require_causal_state(const StepState& state, const CausalProfile& profile,
                          const Geometry& geometry, const std::string& path);

}  // namespace t2v::pipeline
