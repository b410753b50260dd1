// How the transformer's linear layers compute.
#pragma once

#include <string>

#include "models/placement.h"
#include "pipeline/model.h"
#include "pipeline/run.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// Whether `t2v quantize` has made the transformer's files.
bool is_quantised_by_t2v(const Model& model);

// options.quant, with kAuto decided by the model's files.
Quant choose_quant(const EngineOptions& options, const Model& model);

// What that means for the layers. Throws Error{kDevice} when the device has no such products.
models::QuantPlan quant_plan(Quant quant, const EngineOptions& options, const Model& model,
                             const Compute& compute);

// ", int8 rotated by 256"; "" for layers in the compute type.
std::string describe(const models::QuantPlan& plan);

}  // namespace t2v::pipeline
