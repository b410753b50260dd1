// A model folder opened: specs, headers and tokenizer at hand, no weights read.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "models/spec.h"
#include "models/vae/spec.h"
#include "pipeline/geometry.h"
#include "pipeline/settings.h"
#include "text/tokenizer.h"
#include "weights/model_folder.h"
#include "weights/weight_map.h"

namespace t2v::pipeline {

struct Model {
  weights::ModelFolder folder;
  models::TextEncoderSpec text_encoder;
  models::TransformerSpec transformer;  // both experts have the same
  models::vae::VaeSpec vae;
  ModelVariant variant;
  Settings own_settings;             // t2v.json
  std::optional<double> flow_shift;  // scheduler file
  int64_t text_len = 512;            // padded prompt length
  std::unique_ptr<text::Tokenizer> tokenizer;

  [[nodiscard]] bool two_experts() const { return !folder.transformer_2.empty(); }
  [[nodiscard]] GeometryRules geometry_rules() const;
};

// Reads all configs and checks them against each other and against the names and shapes of all
// tensors. Throws Error{kModel}.
Model open_model(const std::string& path);

// The weights of one component, by name ("text_encoder", "transformer", "transformer_2", "vae").
weights::WeightMap open_weights(const Model& model, const std::string& component);

}  // namespace t2v::pipeline
