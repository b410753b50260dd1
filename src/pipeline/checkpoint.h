// A video between two steps, on disk: what `--resume` goes on from.
#pragma once

#include <optional>
#include <string>

#include "pipeline/denoise_stage.h"

namespace t2v::pipeline {

// Whole or not at all. recipe_json: what the state belongs to. Throws Error{kOutput}.
void write_checkpoint(const std::string& path, const StepState& state,
                      const std::string& recipe_json);

// Nothing when there is no file, or one of another recipe (also of another build, type or device
// type: then the bytes would not be those of an uninterrupted run). Throws Error{kInput} when the
// file is broken.
std::optional<StepState> read_checkpoint(const std::string& path, const std::string& recipe_json);

}  // namespace t2v::pipeline
