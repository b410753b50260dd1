#include "pipeline/quantize_plan.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "core/check.h"
#include "weights/quantise_rows.h"

namespace t2v::pipeline {
namespace {

using weights::HeaderTensor;
using weights::ModelPart;

constexpr std::string_view kBlocks = "blocks.";
constexpr std::string_view kWeight = ".weight";
constexpr int64_t kProtectFirst = 2;
constexpr int64_t kProtectLast = 3;
// Norms, biases and modulation stay exact when the source has to be expanded.
constexpr int64_t kSmallElements = 32768;

constexpr std::array<std::string_view, 12> kTransformerLayers{
    "self_attn.q",      "self_attn.k",      "self_attn.v",  "self_attn.o",
    "cross_attn.q",     "cross_attn.k",     "cross_attn.v", "cross_attn.o",
    "cross_attn.k_img", "cross_attn.v_img", "ffn.0",        "ffn.2"};
constexpr std::array<std::string_view, 7> kTextLayers{"attn.q",     "attn.k",  "attn.v", "attn.o",
                                                      "ffn.gate.0", "ffn.fc1", "ffn.fc2"};

struct BlockName {
  int64_t block = -1;     // -1: of no block
  std::string_view rest;  // behind "blocks.<n>.", or the whole name
};

BlockName parse(std::string_view name) {
  if (!name.starts_with(kBlocks)) return {-1, name};
  const std::string_view behind = name.substr(kBlocks.size());
  int64_t block = -1;
  const auto [end, error] = std::from_chars(behind.data(), behind.data() + behind.size(), block);
  const auto length = static_cast<size_t>(end - behind.data());
  if (error != std::errc() || length >= behind.size() || behind[length] != '.') return {-1, name};
  return {block, behind.substr(length + 1)};
}

// What a tensor that is not quantised is stored as.
c10::ScalarType kept_dtype(const weights::WeightMap::Storage& source) {
  const bool plain =
      source.scheme == nullptr && source.entry->encoding == weights::Encoding::kPlain;
  if (plain && source.entry->dtype != c10::ScalarType::Double) return source.entry->dtype;
  if (plain) return c10::ScalarType::Float;
  return weights::num_elements(source.entry->shape) <= kSmallElements ? c10::ScalarType::Float
                                                                      : c10::ScalarType::BFloat16;
}

// Tensors of one block lie together, the widest types first, so that all are aligned.
void sort_for_reading(std::vector<HeaderTensor>& header) {
  const auto key = [](const HeaderTensor& tensor) {
    return std::tuple(parse(tensor.name).block,
                      -static_cast<int64_t>(c10::elementSize(tensor.dtype)),
                      std::string_view(tensor.name));
  };
  std::sort(header.begin(), header.end(),
            [&](const HeaderTensor& a, const HeaderTensor& b) { return key(a) < key(b); });
}

std::string layer_of(const std::string& weight) {
  return weight.substr(0, weight.size() - kWeight.size());
}

// Each layer's own group, in the words that other programs read as well.
std::string formats_text(const std::vector<PlannedTensor>& tensors) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::object();
  for (const PlannedTensor& tensor : tensors) {
    if (!tensor.quantised) continue;
    nlohmann::ordered_json words = {{"format", "int8_tensorwise"}};
    if (tensor.rotation > 0) {
      words["convrot"] = true;
      words["convrot_groupsize"] = tensor.rotation;
    }
    layers[layer_of(tensor.name)] = std::move(words);
  }
  return nlohmann::ordered_json({{"layers", std::move(layers)}}).dump();
}

}  // namespace

int64_t ComponentPlan::bytes() const noexcept {
  int64_t sum = 0;
  for (const HeaderTensor& tensor : header) sum += tensor.bytes();
  return sum;
}

bool is_quantised_layer(ModelPart part, std::string_view name) {
  const BlockName parsed = parse(name);
  if (parsed.block < 0 || !parsed.rest.ends_with(kWeight)) return false;
  const std::string_view layer = parsed.rest.substr(0, parsed.rest.size() - kWeight.size());
  const auto is_one_of = [&](const auto& list) {
    return std::find(list.begin(), list.end(), layer) != list.end();
  };
  if (part == ModelPart::kTransformer) return is_one_of(kTransformerLayers);
  return part == ModelPart::kTextEncoder && is_one_of(kTextLayers);
}

bool is_protected(std::string_view name, int64_t num_blocks) {
  const int64_t block = parse(name).block;
  return block >= 0 && (block < kProtectFirst || block >= num_blocks - kProtectLast);
}

ComponentPlan plan_component(const weights::WeightMap& map, ModelPart part,
                             const std::string& component, const std::string& file,
                             const PlanOptions& options) {
  ComponentPlan plan;
  plan.component = component;
  plan.file = file;
  const int64_t num_blocks = map.count_blocks(kBlocks);
  const bool protects = part == ModelPart::kTransformer && options.preset == QuantPreset::kQuality;
  for (const weights::ExpectedTensor& tensor : map.tensors()) {
    if (tensor.name.ends_with("spiece_model")) continue;  // the tokenizer gets a file of its own
    const auto source = map.storage_of(tensor.name);
    PlannedTensor planned{.name = tensor.name};
    planned.quantised = is_quantised_layer(part, tensor.name) && tensor.shape.size() == 2 &&
                        !(protects && is_protected(tensor.name, num_blocks));
    if (planned.quantised) {
      planned.rotation = weights::rotation_group(options.rotation, tensor.shape[1]);
      plan.header.push_back({tensor.name, c10::ScalarType::Char, tensor.shape});
      plan.header.push_back(
          {layer_of(tensor.name) + ".weight_scale", c10::ScalarType::Float, {tensor.shape[0], 1}});
    } else {
      plan.header.push_back({tensor.name, kept_dtype(source), tensor.shape});
    }
    plan.tensors.push_back(std::move(planned));
  }
  sort_for_reading(plan.header);
  std::map<std::string_view, size_t> places;
  for (size_t i = 0; i < plan.header.size(); ++i) places[plan.header[i].name] = i;
  for (PlannedTensor& tensor : plan.tensors) {
    tensor.index = places.at(tensor.name);
    if (tensor.quantised) tensor.scale_index = places.at(layer_of(tensor.name) + ".weight_scale");
  }
  constexpr size_t kHashDigits = 64;
  plan.metadata = {{"format", "pt"},
                   {"t2v.quant", "int8"},
                   {"t2v.rotate", std::to_string(options.rotation)},
                   {kSourceHashKey, std::string(kHashDigits, '0')},
                   {"_quantization_metadata", formats_text(plan.tensors)}};
  if (!options.loras.empty() && part == ModelPart::kTransformer)
    plan.metadata["t2v.lora"] = options.loras;
  if (protects) plan.metadata["t2v.preset"] = "quality";
  return plan;
}

}  // namespace t2v::pipeline
