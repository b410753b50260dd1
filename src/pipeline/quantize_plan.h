// What `t2v quantize` makes of one component: which tensors become int8, where they lie in the
// file.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "t2v/request.h"
#include "weights/safetensors_writer.h"
#include "weights/weight_map.h"

namespace t2v::pipeline {

struct PlannedTensor {
  std::string name;        // canonical
  bool quantised = false;  // to int8 rows, else kept
  int64_t rotation = 0;    // group, of quantised ones
  size_t index = 0;        // of the tensor in the file's header
  size_t scale_index = 0;  // of its scale, of quantised ones
};

struct ComponentPlan {
  std::string component;  // "text_encoder", "transformer", "transformer_2"
  std::string file;       // relative to the folder
  std::vector<PlannedTensor> tensors;
  std::vector<weights::HeaderTensor> header;  // in the order of the file
  std::map<std::string, std::string> metadata;

  // Bytes of the file's tensors.
  [[nodiscard]] int64_t bytes() const noexcept;
};

struct PlanOptions {
  int64_t rotation = 256;  // as asked
  QuantPreset preset = QuantPreset::kFast;
  std::string loras;  // for the metadata; "" for none
};

// The linear layers of int8.md, section 1, by their canonical weights.
bool is_quantised_layer(weights::ModelPart part, std::string_view name);

// The first two and the last three blocks, which the preset kQuality leaves as they are.
bool is_protected(std::string_view name, int64_t num_blocks);

// metadata["t2v.source_sha256"] is a row of zeros of the right length.
ComponentPlan plan_component(const weights::WeightMap& map, weights::ModelPart part,
                             const std::string& component, const std::string& file,
                             const PlanOptions& options);

inline constexpr const char* kSourceHashKey = "t2v.source_sha256";

}  // namespace t2v::pipeline
