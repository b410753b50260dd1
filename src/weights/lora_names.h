// Names in LoRA files: which part of which delta a tensor is, in every published style.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "weights/lora.h"

namespace t2v::weights {

enum class LoraRole {
  kDown,            // A [r, in]
  kUp,              // B [out, r]
  kAlpha,           // scalar
  kFull,            // delta of the whole weight
  kFullBias,        // delta of the bias
  kFullModulation,  // delta of `modulation`
  kUnsupported,     // of another method
  kUnknown,         // no name of a LoRA
};

struct LoraKey {
  LoraRole role = LoraRole::kUnknown;
  std::string base;            // the layer's name without prefix and suffix, in the file's style
  std::string_view method;     // of kUnsupported: "DoRA"
  bool first_expert = false;   // prefix "transformer."
  bool second_expert = false;  // prefix "transformer_2."
};

LoraKey parse_lora_key(std::string_view name);

// Finds the weight that a key means among the model's.
class LoraNames {
 public:
  explicit LoraNames(const std::vector<LoraTarget>& targets);  // keeps pointers to them
  // nullptr: the model has no such weight.
  [[nodiscard]] const LoraTarget* find(const LoraKey& key) const;

 private:
  [[nodiscard]] const LoraTarget* by_name(const std::string& name) const;

  std::map<std::string, const LoraTarget*, std::less<>> targets_;
  std::map<std::string, std::string, std::less<>> underscored_;  // layer with '_' -> canonical
};

}  // namespace t2v::weights
