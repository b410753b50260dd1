// What a model or a file of tensors holds, as JSON and for people; the plan of a run.
#pragma once

#include "pipeline/model.h"
#include "pipeline/run.h"
#include "t2v/engine.h"

namespace t2v::pipeline {

// Device, model, sizes, memory: what --dry-run shows beside the recipe.
ResolvedSettings plan_of(const Recipe& recipe, const Model& model, const Compute& compute);

}  // namespace t2v::pipeline
