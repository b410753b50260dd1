// A model opened: components found, specs and tokenizer at hand, no weights read.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "models/spec.h"
#include "models/vae/spec.h"
#include "pipeline/geometry.h"
#include "pipeline/settings.h"
#include "t2v/request.h"
#include "text/tokenizer.h"
#include "weights/model_folder.h"
#include "weights/weight_map.h"

namespace t2v::pipeline {

struct Model {
  weights::ModelFolder folder;  // every component's checkpoint is open
  std::shared_ptr<const weights::Storage> storage;
  models::TextEncoderSpec text_encoder;
  models::TransformerSpec transformer;  // both experts have the same
  models::vae::VaeSpec vae;
  ModelVariant variant;
  Settings own_settings;                       // t2v.json
  std::optional<double> flow_shift;            // scheduler file
  int64_t text_len = 512;                      // padded prompt length
  std::string tokenizer_name;                  // where the tokenizer is from
  int64_t vocabulary = 0;                      // of the tokenizer
  std::unique_ptr<text::Tokenizer> tokenizer;  // null when opened to be looked at

  [[nodiscard]] bool two_experts() const { return static_cast<bool>(folder.transformer_2); }
  [[nodiscard]] GeometryRules geometry_rules() const;
};

std::shared_ptr<const weights::Storage> open_storage(const EngineOptions& options);

// Finds the components by content (options.model_path, options.components), reads all configs and
// headers, once, and checks them against each other. Also opens models that `require_runnable`
// refuses. Throws Error{kModel, kRemote}.
enum class Purpose { kRun, kLook };
Model open_model(const EngineOptions& options, std::shared_ptr<const weights::Storage> storage,
                 Purpose purpose = Purpose::kRun);

// Throws Error{kModel} naming the model when this version cannot generate with it.
void require_runnable(const Model& model);

// The weights of one component, by name ("text_encoder", "transformer", "transformer_2", "vae").
weights::WeightMap open_weights(const Model& model, const std::string& component);

}  // namespace t2v::pipeline
