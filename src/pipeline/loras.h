// The LoRA files of a run, sorted to the experts they belong to.
#pragma once

#include <memory>

#include "pipeline/model.h"
#include "t2v/request.h"
#include "weights/lora.h"

namespace t2v::pipeline {

struct ExpertLoras {
  std::shared_ptr<const weights::LoraSet> high_noise;  // also of a single transformer; may be null
  std::shared_ptr<const weights::LoraSet> low_noise;   // may be null

  [[nodiscard]] int64_t bytes() const noexcept;
};

// As asked for, else by the file's name.
weights::LoraExpert expert_of(const LoraOption& lora);

// Opens options.loras and checks them against the transformer. What lenient opening has left out is
// logged as a warning. Throws Error{kModel, kUsage}.
ExpertLoras open_loras(const EngineOptions& options, const Model& model);

}  // namespace t2v::pipeline
