// Request -> Recipe: the command line wins, then the preset, then the model folder's t2v.json, then
// the table of published defaults.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "pipeline/model.h"
#include "t2v/engine.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// Throws Error{kUsage, kInput} for values that do not fit this model, all numbers checked.
Recipe resolve_recipe(const Request& request, const Model& model);

// One JSON object, keys in a fixed order. Of files that options name (LoRAs, components): their
// base names. dtype: the compute type's word ("bf16").
std::string recipe_to_json(const Recipe& recipe, const Model& model, const EngineOptions& options,
                           const std::string& dtype);

}  // namespace t2v::pipeline
