#include "pipeline/loras.h"

#include "core/check.h"
#include "core/log.h"
#include "models/wan/transformer.h"

namespace t2v::pipeline {
namespace {

using weights::LoraExpert;

std::shared_ptr<const weights::LoraSet> open_set(const EngineOptions& options, const Model& model,
                                                 LoraExpert expert) {
  std::vector<weights::LoraFile> files;
  for (const LoraOption& lora : options.loras) {
    const LoraExpert wanted = expert_of(lora);
    // A model with one transformer takes every file, whatever its name says.
    if (expert == LoraExpert::kBoth || wanted == LoraExpert::kBoth || wanted == expert)
      files.push_back({.path = lora.path, .strength = lora.strength});
  }
  if (files.empty()) return nullptr;
  std::vector<weights::LoraTarget> targets;
  for (auto& tensor : models::wan::Transformer::expectations(model.transformer).tensors)
    targets.push_back({.name = std::move(tensor.name), .shape = std::move(tensor.shape)});
  auto set = std::make_shared<const weights::LoraSet>(weights::LoraSet::open(
      *model.storage, files, targets, {.expert = expert, .lenient = options.lora_lenient}));
  for (const std::string& warning : set->warnings()) core::log(core::LogLevel::kWarn, warning);
  return set;
}

}  // namespace

LoraExpert expert_of(const LoraOption& lora) {
  if (lora.expert == "high") return LoraExpert::kHighNoise;
  if (lora.expert == "low") return LoraExpert::kLowNoise;
  return weights::lora_expert_of(lora.path);
}

int64_t ExpertLoras::bytes() const noexcept {
  return (high_noise ? high_noise->bytes() : 0) + (low_noise ? low_noise->bytes() : 0);
}

ExpertLoras open_loras(const EngineOptions& options, const Model& model) {
  if (options.loras.empty()) return {};
  if (!model.two_experts()) {
    for (const LoraOption& lora : options.loras)
      T2V_REQUIRE(lora.expert.empty(), ErrorKind::kUsage, "this model has one transformer: '@",
                  lora.expert, "' has no meaning (--lora ", lora.path, ")");
    return {open_set(options, model, LoraExpert::kBoth), nullptr};
  }
  return {open_set(options, model, LoraExpert::kHighNoise),
          open_set(options, model, LoraExpert::kLowNoise)};
}

}  // namespace t2v::pipeline
