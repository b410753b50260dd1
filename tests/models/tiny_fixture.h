// The tiny seeded models of tests/fixtures/tiny and what the reference libraries compute with them.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "models/spec.h"
#include "weights/checkpoint.h"
#include "weights/weight_map.h"

namespace t2v::testing {

inline std::string tiny_path(const std::string& name) {
  return std::string(T2V_FIXTURES) + "/tiny/" + name;
}

inline at::Tensor tiny_reference(const std::string& name) {
  return weights::Checkpoint::open(tiny_path("reference.safetensors")).load(name);
}

inline weights::WeightMap tiny_weights(const std::string& component, weights::ModelPart part) {
  return weights::WeightMap::open(tiny_path(component), part, component);
}

inline std::shared_ptr<const weights::WeightMap> tiny_transformer_weights() {
  return std::make_shared<const weights::WeightMap>(
      tiny_weights("transformer", weights::ModelPart::kTransformer));
}

}  // namespace t2v::testing
