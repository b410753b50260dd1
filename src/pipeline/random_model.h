// Models of real shapes with random weights, for measurements without any file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/spec.h"
#include "models/vae/spec.h"
#include "weights/storage.h"

namespace t2v::pipeline {

// "tiny", "1.3b", "14b", "a14b".
std::vector<std::string> random_model_names();

struct RandomModelSpec {
  models::TransformerSpec transformer;
  models::TextEncoderSpec text_encoder;
  models::vae::VaeSpec vae;
  bool two_experts = false;
};

// Throws Error{kUsage} for other names.
RandomModelSpec random_model_spec(const std::string& name);

// The model's path: "random:<name>".
std::string random_model_path(const std::string& name);
bool is_random_model(const std::string& path) noexcept;
// A storage that holds the model of this path; other paths (a tokenizer) go to `others`.
std::shared_ptr<const weights::Storage> open_random_model(
    const std::string& path, std::shared_ptr<const weights::Storage> others);

}  // namespace t2v::pipeline
