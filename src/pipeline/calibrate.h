// Measures what --step-cache mag goes by: one video, all steps computed.
#pragma once

#include <string>

#include "pipeline/engine_state.h"
#include "t2v/engine.h"

namespace t2v::pipeline {

// Writes the table of step_cache_table.h. Throws Error{kUsage} for recipes that no step cache can
// serve, Error{kNumeric, kOutput} and what making a video throws.
Report calibrate(EngineState& engine, const Recipe& recipe, const std::string& table_path,
                 ProgressListener& progress, const CancelToken& cancel);

}  // namespace t2v::pipeline
