// The presets: named settings for known ways of sampling, as they are for a model at hand.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/model.h"
#include "pipeline/settings.h"
#include "t2v/engine.h"

namespace t2v::pipeline {

// What weights a preset is for.
enum class PresetWeights {
  kAny,
  kLora,       // a step-distillation LoRA, one for each expert; or weights it is merged into
  kDistilled,  // a distilled checkpoint
};
PresetWeights preset_weights(const std::string& name);
[[nodiscard]] inline bool is_distilled(const std::string& preset) {
  return preset_weights(preset) != PresetWeights::kAny;
}

// steps: as asked for, where a preset has lists of several lengths. Throws Error{kUsage} with the
// names.
Settings preset_settings(const std::string& name, const Model& model,
                         std::optional<int64_t> steps = std::nullopt);

// The preset over the model's own settings, for this model complete.
Settings settings_below(const std::string& preset, const Model& model,
                        std::optional<int64_t> steps = std::nullopt);

// The values a preset gives for this model, as (flag, value) in the order of the command line.
ResolvedSettings preset_values(const std::string& preset, const Model& model);

// What the result may differ by from what was asked: weights that a preset wants, guidance of
// distilled models, and where a model folder says otherwise than what is used.
std::vector<std::string> recipe_warnings(const Recipe& recipe, const Model& model,
                                         const EngineOptions& options);

// "1000,937.5,833.3333333333333": reads back as the same numbers.
std::string list_text(const std::vector<double>& values);
std::string number_text(double value);

}  // namespace t2v::pipeline
