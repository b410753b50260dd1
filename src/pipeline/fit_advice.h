// What a run that does not fit the memory could change to fit.
#pragma once

#include <string>

#include "pipeline/engine_state.h"

namespace t2v::pipeline {

// The smallest single changes that would do, "--frames 41, --size 960x528 or --quant int8": a given
// budget raised as far as the machine goes, the
// most frames, the largest size of the same shape, another offload mode or type. "" when none does.
std::string fit_advice(const EngineState& engine, const Recipe& recipe);

}  // namespace t2v::pipeline
