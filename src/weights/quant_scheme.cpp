#include "weights/quant_scheme.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/escape.h"
#include "weights/quant_format.h"
#include "weights/stored_tensor.h"

namespace t2v::weights {
namespace {

struct Foreign {
  std::string_view suffix;
  const char* scheme;
};

// Tensors that only schemes have which are not read.
constexpr std::array<Foreign, 7> kForeign{{
    {".weight_scale_2", "nvfp4"},
    {".weight.absmax", "bitsandbytes"},
    {".weight.quant_map", "bitsandbytes"},
    {".weight.nested_absmax", "bitsandbytes"},
    {".qweight", "GPTQ, AWQ or SVDQuant"},
    {".weight_packed", "compressed-tensors"},
    {".weight_scale_inv", "fp8 with inverse block scales"},
}};

bool is_fp8(c10::ScalarType dtype) noexcept {
  return dtype == c10::ScalarType::Float8_e4m3fn || dtype == c10::ScalarType::Float8_e5m2;
}

bool is_float(c10::ScalarType dtype) noexcept {
  return dtype == c10::ScalarType::Float || dtype == c10::ScalarType::BFloat16 ||
         dtype == c10::ScalarType::Half || dtype == c10::ScalarType::Double;
}

// What a format of `comfy_quant` is stored as; Undefined: not read.
c10::ScalarType dtype_of_format(const std::string& format) noexcept {
  if (format == "int8_tensorwise") return c10::ScalarType::Char;
  if (format == "float8_e4m3fn") return c10::ScalarType::Float8_e4m3fn;
  if (format == "float8_e5m2") return c10::ScalarType::Float8_e5m2;
  return c10::ScalarType::Undefined;
}

std::string shown(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

class SchemeFinder {
 public:
  explicit SchemeFinder(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint),
        formats_(read_layer_formats(checkpoint)),
        file_rotation_(read_file_rotation(checkpoint)) {}

  SchemeTable run() {
    for (const TensorEntry& entry : checkpoint_.tensors()) look_at(entry);
    for (const auto& [layer, format] : formats_) check_used(layer, format);
    table_.summary = summarise();
    return std::move(table_);
  }

 private:
  template <typename... Parts>
  [[noreturn]] void refuse(const TensorEntry& entry, const Parts&... parts) const {
    throw Error(checkpoint_.error_kind(),
                core::str("tensor '", core::escape_control(entry.name, 200), "' ", parts..., " (",
                          checkpoint_.file_of(entry), ")"));
  }
  [[nodiscard]] const TensorEntry* find(const std::string& layer, const char* suffix) const {
    return checkpoint_.find(layer + suffix);
  }

  void look_at(const TensorEntry& entry);
  bool look_at_companion(const TensorEntry& entry);
  void look_at_weight(const TensorEntry& entry, const std::string& layer);
  void add_block_scaled(const TensorEntry& entry, const std::string& layer);
  void check_scale(const QuantisedLinear& linear) const;
  void check_rotation(const QuantisedLinear& linear) const;
  void check_used(const std::string& layer, const LayerFormat& format) const;
  [[nodiscard]] std::string summarise() const;

  const Checkpoint& checkpoint_;
  std::map<std::string, LayerFormat> formats_;
  int64_t file_rotation_;
  SchemeTable table_;
};

void SchemeFinder::look_at(const TensorEntry& entry) {
  for (const Foreign& foreign : kForeign) {
    if (entry.name.ends_with(foreign.suffix))
      refuse(entry, "belongs to a scheme that is not read: ", foreign.scheme);
  }
  if (look_at_companion(entry)) return;
  constexpr std::string_view kBlockWeight = ".int8_weight";
  constexpr std::string_view kWeight = ".weight";
  if (entry.name.ends_with(kBlockWeight)) {
    add_block_scaled(entry, entry.name.substr(0, entry.name.size() - kBlockWeight.size()));
  } else if (entry.encoding != Encoding::kPlain) {
    table_.linears[entry.name] = {.weight = &entry,
                                  .scheme = std::string(encoding_name(entry.encoding))};
  } else if (entry.name.ends_with(kWeight)) {
    look_at_weight(entry, entry.name.substr(0, entry.name.size() - kWeight.size()));
  } else if (is_fp8(entry.dtype)) {
    table_.linears[entry.name] = {.weight = &entry, .scheme = "fp8"};
  }
}

// Scales, markers and calibration; a scale without its weight is refused.
bool SchemeFinder::look_at_companion(const TensorEntry& entry) {
  const auto layer_before = [&](std::string_view suffix) {
    return entry.name.ends_with(suffix) ? entry.name.substr(0, entry.name.size() - suffix.size())
                                        : std::string();
  };
  if (entry.name == "scaled_fp8" || entry.name.ends_with(".scaled_fp8")) {
    table_.companions.insert(entry.name);
    return true;
  }
  for (const char* suffix :
       {".weight_scale", ".scale_weight", ".comfy_quant", ".input_scale", ".scale_input"}) {
    const std::string layer = layer_before(suffix);
    if (layer.empty()) continue;
    if (find(layer, ".weight") == nullptr && find(layer, ".int8_weight") == nullptr)
      refuse(entry, "has no weight '", layer, ".weight'");
    table_.companions.insert(entry.name);
    return true;
  }
  const std::string layer = layer_before(".scale");
  if (layer.empty() || find(layer, ".int8_weight") == nullptr) return false;
  table_.companions.insert(entry.name);
  return true;
}

void SchemeFinder::add_block_scaled(const TensorEntry& entry, const std::string& layer) {
  if (find(layer, ".weight") != nullptr) refuse(entry, "is there beside '", layer, ".weight'");
  const TensorEntry* scale = find(layer, ".scale");
  if (entry.dtype != c10::ScalarType::Char || entry.shape.size() != 2) {
    refuse(entry, "is ", stored_type_name(entry), " ", shown(entry.shape),
           ", expected I8 of 2 dimensions");
  }
  if (scale == nullptr) refuse(entry, "has no scale '", layer, ".scale'");
  const QuantisedLinear linear{
      .weight = &entry, .scale = scale, .block_scale = true, .scheme = "int8 block"};
  check_scale(linear);
  table_.linears[layer + ".weight"] = linear;
}

void SchemeFinder::look_at_weight(const TensorEntry& entry, const std::string& layer) {
  const TensorEntry* scale = find(layer, ".weight_scale");
  const TensorEntry* old_scale = find(layer, ".scale_weight");
  if (scale != nullptr && old_scale != nullptr)
    refuse(entry, "has two scales: '.weight_scale' and '.scale_weight'");
  if (scale == nullptr) scale = old_scale;
  const auto format = formats_.find(layer);
  const bool has_format = format != formats_.end();
  if (has_format && dtype_of_format(format->second.format) != entry.dtype) {
    const std::string word = core::escape_control(format->second.format, 80);
    if (dtype_of_format(format->second.format) == c10::ScalarType::Undefined)
      refuse(entry, "is quantised as '", word, "', which is not read");
    refuse(entry, "is ", stored_type_name(entry), ", but said to be '", word, "'");
  }
  QuantisedLinear linear{.weight = &entry, .scale = scale};
  if (entry.dtype == c10::ScalarType::Char) {
    if (scale == nullptr && !has_format) return;  // no weight of ours: the reader will say so
    if (scale == nullptr) refuse(entry, "has no scale '", layer, ".weight_scale'");
    linear.rotation = has_format ? format->second.rotation : file_rotation_;
    linear.scheme = num_elements(scale->shape) == 1 ? "int8 tensor" : "int8 row";
  } else if (is_fp8(entry.dtype)) {
    linear.rotation = has_format ? format->second.rotation : 0;
    linear.scheme = scale != nullptr ? "fp8 scaled" : "fp8";
  } else if (scale == nullptr) {
    return;
  } else if (is_float(entry.dtype)) {
    linear.scheme = core::str("scaled ", stored_type_name(entry));
  } else {
    refuse(entry, "is ", stored_type_name(entry), " with a scale, a scheme that is not read");
  }
  check_scale(linear);
  check_rotation(linear);
  table_.linears[entry.name] = linear;
}

void SchemeFinder::check_scale(const QuantisedLinear& linear) const {
  if (linear.scale == nullptr) return;
  const TensorEntry& scale = *linear.scale;
  const std::vector<int64_t>& shape = linear.weight->shape;
  if (scale.dtype != c10::ScalarType::Float || scale.encoding != Encoding::kPlain)
    refuse(scale, "is ", stored_type_name(scale), ", expected F32");
  const int64_t rows = shape.empty() ? 1 : shape[0];
  if (linear.block_scale) {
    const std::vector<int64_t> expected = {(rows + kScaleBlock - 1) / kScaleBlock,
                                           (shape[1] + kScaleBlock - 1) / kScaleBlock};
    if (scale.shape != expected)
      refuse(scale, "is ", shown(scale.shape), ", expected ", shown(expected));
    return;
  }
  const bool fits = num_elements(scale.shape) == 1 || scale.shape == std::vector<int64_t>{rows} ||
                    scale.shape == std::vector<int64_t>{rows, 1};
  if (!fits) refuse(scale, "is ", shown(scale.shape), ", expected one value or [", rows, ", 1]");
}

void SchemeFinder::check_rotation(const QuantisedLinear& linear) const {
  if (linear.rotation == 0) return;
  const std::vector<int64_t>& shape = linear.weight->shape;
  if (shape.size() != 2 || shape[1] % linear.rotation != 0) {
    refuse(*linear.weight, "is ", shown(shape), ", expected rows of a multiple of ",
           linear.rotation, ": it is said to be rotated");
  }
}

// A tensor that says how its layer is stored, for a layer that is not.
void SchemeFinder::check_used(const std::string& layer, const LayerFormat& format) const {
  if (table_.linears.count(layer + ".weight") != 0) return;
  const TensorEntry* said_by = checkpoint_.find(format.said_by);
  if (said_by == nullptr) return;
  refuse(*said_by, "says '", core::escape_control(format.format, 80), "', but '", layer,
         ".weight' is not stored so");
}

std::string SchemeFinder::summarise() const {
  std::map<const TensorEntry*, std::string> schemes;
  for (const auto& [name, linear] : table_.linears) schemes[linear.weight] = linear.scheme;
  std::map<std::string, int64_t> bytes;
  for (const TensorEntry& entry : checkpoint_.tensors()) {
    if (table_.companions.count(entry.name) != 0) continue;
    const auto scheme = schemes.find(&entry);
    bytes[scheme != schemes.end() ? scheme->second : std::string(stored_type_name(entry))] +=
        entry.bytes;
  }
  std::vector<std::pair<std::string, int64_t>> order(bytes.begin(), bytes.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (const auto& [name, count] : order) {
    if (!text.empty()) text += " + ";
    text += name;
  }
  return text;
}

}  // namespace

SchemeTable find_schemes(const Checkpoint& checkpoint) { return SchemeFinder(checkpoint).run(); }

}  // namespace t2v::weights
