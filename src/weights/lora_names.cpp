#include "weights/lora_names.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>

#include "weights/key_map.h"

namespace t2v::weights {
namespace {

constexpr std::string_view kUnderscorePrefix = "lora_unet_";
constexpr std::string_view kSecondExpert = "transformer_2.";
constexpr std::string_view kFirstExpert = "transformer.";

constexpr std::array<std::string_view, 8> kPrefixes = {"base_model.model.",
                                                       "model.diffusion_model.",
                                                       "diffusion_model.",
                                                       kSecondExpert,
                                                       kFirstExpert,
                                                       "generator.",
                                                       "unet.",
                                                       "model."};

struct Suffix {
  std::string_view ending;
  LoraRole role;
};

// Longer ones before those that end them.
constexpr std::array kSuffixes{
    Suffix{".lora_linear_layer.down.weight", LoraRole::kDown},
    Suffix{".lora_linear_layer.up.weight", LoraRole::kUp},
    Suffix{".lora_down.weight", LoraRole::kDown},
    Suffix{".lora_up.weight", LoraRole::kUp},
    Suffix{".lora_A.weight", LoraRole::kDown},
    Suffix{".lora_B.weight", LoraRole::kUp},
    Suffix{".lora.down.weight", LoraRole::kDown},
    Suffix{".lora.up.weight", LoraRole::kUp},
    Suffix{"_lora.down.weight", LoraRole::kDown},
    Suffix{"_lora.up.weight", LoraRole::kUp},
    Suffix{".lora_down", LoraRole::kDown},
    Suffix{".lora_up", LoraRole::kUp},
    Suffix{".lora_A", LoraRole::kDown},
    Suffix{".lora_B", LoraRole::kUp},
    Suffix{".alpha", LoraRole::kAlpha},
    Suffix{".diff", LoraRole::kFull},
    Suffix{".diff_b", LoraRole::kFullBias},
    Suffix{".diff_m", LoraRole::kFullModulation},
};

struct Method {
  std::string_view mark;  // anywhere in the name
  std::string_view name;
};

constexpr std::array kOtherMethods{
    Method{".dora_scale", "DoRA"},
    Method{".lora_magnitude_vector", "DoRA"},
    Method{".lokr_", "LoKr"},
    Method{".hada_", "LoHa"},
    Method{".oft_", "OFT"},
    Method{".lora_mid", "LoCon with a middle factor"},
    Method{".reshape_weight", "a change of shape"},
    Method{".lora_B.bias", "a low-rank bias"},
    Method{".proj_l.", "a linear-attention side branch"},
};

// "X.lora_A.NAME.weight" (PEFT's named adapters) as "X.lora_A.weight".
std::string without_adapter_name(std::string_view name) {
  for (const std::string_view factor : {".lora_A.", ".lora_B."}) {
    const size_t at = name.rfind(factor);
    if (at == std::string_view::npos || !name.ends_with(".weight")) continue;
    const size_t begin = at + factor.size();
    const size_t end = name.size() - std::string_view("weight").size();
    if (begin >= end) continue;
    const std::string_view adapter = name.substr(begin, end - begin - 1);
    if (adapter.find('.') != std::string_view::npos) continue;
    return std::string(name.substr(0, begin)).append("weight");
  }
  return std::string(name);
}

std::string_view strip_prefix(std::string_view name, LoraKey& key) {
  bool changed = true;
  while (changed) {
    changed = false;
    for (const std::string_view prefix : kPrefixes) {
      if (!name.starts_with(prefix)) continue;
      name.remove_prefix(prefix.size());
      key.first_expert = key.first_expert || prefix == kFirstExpert;
      key.second_expert = key.second_expert || prefix == kSecondExpert;
      changed = true;
    }
  }
  return name;
}

// Old attention processors: "attn1.processor.to_out" is "attn1.to_out.0".
std::string without_processor(std::string base) {
  constexpr std::string_view kProcessor = ".processor.";
  const size_t at = base.find(kProcessor);
  if (at == std::string::npos) return base;
  base.replace(at, kProcessor.size(), 1, '.');
  return base.ends_with(".to_out") ? base + ".0" : base;
}

std::string underscored(std::string_view name) {
  std::string out(name);
  std::replace(out.begin(), out.end(), '.', '_');
  return out;
}

// The layer a weight belongs to: "blocks.0.ffn.0" of "blocks.0.ffn.0.weight".
std::string_view layer_of(std::string_view name) {
  for (const std::string_view ending : {".weight", ".bias", ".modulation"}) {
    if (name.ends_with(ending)) return name.substr(0, name.size() - ending.size());
  }
  return name;
}

// What may stand behind the layer's name.
std::initializer_list<const char*> endings_of(LoraRole role) {
  static constexpr std::initializer_list<const char*> kWeight = {".weight"};
  static constexpr std::initializer_list<const char*> kWhole = {".weight", ""};
  static constexpr std::initializer_list<const char*> kBias = {".bias"};
  static constexpr std::initializer_list<const char*> kModulation = {".modulation", ""};
  switch (role) {
    case LoraRole::kFull:
      return kWhole;
    case LoraRole::kFullBias:
      return kBias;
    case LoraRole::kFullModulation:
      return kModulation;
    default:
      return kWeight;
  }
}

}  // namespace

LoraKey parse_lora_key(std::string_view name) {
  LoraKey key;
  for (const Method& method : kOtherMethods) {
    if (name.find(method.mark) == std::string_view::npos) continue;
    key.role = LoraRole::kUnsupported;
    key.method = method.name;
    return key;
  }
  const std::string plain = without_adapter_name(strip_prefix(name, key));
  for (const Suffix& suffix : kSuffixes) {
    if (!plain.ends_with(suffix.ending)) continue;
    key.role = suffix.role;
    key.base = without_processor(plain.substr(0, plain.size() - suffix.ending.size()));
    return key;
  }
  return key;
}

LoraNames::LoraNames(const std::vector<LoraTarget>& targets) {
  for (const LoraTarget& target : targets) {
    targets_.emplace(target.name, &target);
    const std::string layer(layer_of(target.name));
    underscored_.emplace(underscored(layer), layer);
    underscored_.emplace(underscored(framework_name(ModelPart::kTransformer, layer)), layer);
  }
}

const LoraTarget* LoraNames::by_name(const std::string& name) const {
  const auto found = targets_.find(name);
  return found == targets_.end() ? nullptr : found->second;
}

const LoraTarget* LoraNames::find(const LoraKey& key) const {
  std::string layer = key.base;
  if (layer.starts_with(kUnderscorePrefix)) {
    const auto found = underscored_.find(layer.substr(kUnderscorePrefix.size()));
    if (found == underscored_.end()) return nullptr;
    layer = found->second;
  } else {
    layer = canonical_name(ModelPart::kTransformer, layer);
  }
  for (const char* ending : endings_of(key.role)) {
    if (const LoraTarget* target = by_name(layer + ending)) return target;
  }
  return nullptr;
}

}  // namespace t2v::weights
