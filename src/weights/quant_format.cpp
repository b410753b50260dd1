#include "weights/quant_format.h"

#include <array>
#include <span>
#include <string_view>

#include "core/check.h"
#include "core/escape.h"
#include "weights/json_file.h"

namespace t2v::weights {
namespace {

constexpr std::string_view kSuffix = ".comfy_quant";
constexpr const char* kMetadataKey = "_quantization_metadata";
constexpr int64_t kMaxTensorBytes = 65536;
constexpr size_t kMaxMetadataBytes = size_t{16} << 20;
constexpr int64_t kDefaultGroup = 256;
constexpr int64_t kMaxGroup = 4096;

bool is_power_of_4(int64_t group) noexcept {
  while (group > 1 && group % 4 == 0) group /= 4;
  return group == 1;
}

LayerFormat read_format(const JsonFile& json, const std::string& said_by) {
  LayerFormat layer;
  layer.format = json.get_string("format");
  layer.said_by = said_by;
  if (!json.find_bool("convrot").value_or(false)) return layer;
  layer.rotation = json.find_int("convrot_groupsize", 4, kMaxGroup).value_or(kDefaultGroup);
  if (!is_power_of_4(layer.rotation)) json.refuse("convrot_groupsize", "a power of 4");
  return layer;
}

LayerFormat read_tensor(const Checkpoint& checkpoint, const TensorEntry& entry) {
  const std::string& file = checkpoint.file_of(entry);
  const std::string shown = core::escape_control(entry.name, 200);
  T2V_REQUIRE(entry.encoding == Encoding::kPlain && entry.dtype == c10::ScalarType::Byte &&
                  entry.bytes > 0 && entry.bytes <= kMaxTensorBytes,
              checkpoint.error_kind(), "tensor '", shown, "' has ", entry.bytes, " bytes of ",
              stored_type_name(entry), ", expected at most ", kMaxTensorBytes, " of U8 (", file,
              ")");
  std::string text(static_cast<size_t>(entry.bytes), '\0');
  checkpoint.files()[static_cast<size_t>(entry.file_index)]->read(
      entry.offset, std::as_writable_bytes(std::span(text)));
  return read_format(
      JsonFile::parse(text, core::str(file, ": tensor '", shown, "'"), checkpoint.error_kind()),
      entry.name);
}

// The layer as the tensors name it: the metadata may leave a prefix out.
std::string full_name(const Checkpoint& checkpoint, const std::string& layer) {
  for (const char* prefix : {"", "model.diffusion_model.", "diffusion_model.", "model."}) {
    if (checkpoint.contains(core::str(prefix, layer, ".weight"))) return prefix + layer;
  }
  return layer;
}

}  // namespace

std::map<std::string, LayerFormat> read_layer_formats(const Checkpoint& checkpoint) {
  std::map<std::string, LayerFormat> formats;
  const auto found = checkpoint.metadata().find(kMetadataKey);
  if (found != checkpoint.metadata().end()) {
    T2V_REQUIRE(found->second.size() <= kMaxMetadataBytes, checkpoint.error_kind(), "metadata '",
                kMetadataKey, "' has ", found->second.size(), " bytes, at most ", kMaxMetadataBytes,
                " are allowed (", checkpoint.path(), ")");
    const JsonFile json = JsonFile::parse(
        found->second, core::str(checkpoint.path(), ": ", kMetadataKey), checkpoint.error_kind());
    const JsonFile layers = json.get_object("layers");
    for (const std::string& layer : layers.keys()) {
      const JsonFile words = layers.get_object(layer);
      if (words.has_value("format"))
        formats[full_name(checkpoint, layer)] = read_format(words, kMetadataKey);
    }
  }
  for (const TensorEntry& entry : checkpoint.tensors()) {
    if (!entry.name.ends_with(kSuffix)) continue;
    formats[entry.name.substr(0, entry.name.size() - kSuffix.size())] =
        read_tensor(checkpoint, entry);
  }
  return formats;
}

int64_t read_file_rotation(const Checkpoint& checkpoint) {
  const auto found = checkpoint.metadata().find("t2v.rotate");
  if (found == checkpoint.metadata().end() || found->second == "0") return 0;
  constexpr std::array<int64_t, 2> kGroups{64, 256};
  for (const int64_t group : kGroups) {
    if (found->second == std::to_string(group)) return group;
  }
  throw Error(checkpoint.error_kind(),
              core::str("metadata 't2v.rotate' is '", core::escape_control(found->second, 80),
                        "', expected 0, 64 or 256 (", checkpoint.path(), ")"));
}

}  // namespace t2v::weights
