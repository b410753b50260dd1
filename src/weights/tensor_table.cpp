#include "weights/tensor_table.h"

#include <filesystem>
#include <set>

#include "core/check.h"
#include "weights/checkpoint.h"
#include "weights/safetensors.h"

namespace t2v::weights {
namespace {

std::string base_name(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

int64_t elements_of(const TensorEntry& entry) noexcept {
  return entry.bytes / static_cast<int64_t>(c10::elementSize(entry.dtype));
}

}  // namespace

ComponentTable tensor_table(const std::string& component, const std::string& path, ModelPart part) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  ComponentTable table;
  table.component = component;
  table.path = path;
  table.bytes = checkpoint.bytes_total();
  for (const auto& file : checkpoint.files()) table.files.push_back(base_name(file->name()));
  std::vector<std::string> names;
  for (const TensorEntry& entry : checkpoint.tensors()) names.push_back(entry.name);
  const std::vector<std::string> stripped = strip_prefixes(names);
  std::set<std::string> dtypes;
  for (size_t i = 0; i < names.size(); ++i) {
    const TensorEntry& entry = checkpoint.tensors()[i];
    const char* dtype = safetensors_dtype_name(entry.dtype);
    table.num_parameters += elements_of(entry);
    dtypes.insert(dtype);
    table.tensors.push_back({.name = entry.name,
                             .canonical = canonical_name(part, stripped[i]),
                             .file = table.files[static_cast<size_t>(entry.file_index)],
                             .dtype = dtype,
                             .shape = entry.shape,
                             .bytes = entry.bytes});
  }
  table.dtypes.assign(dtypes.begin(), dtypes.end());
  return table;
}

std::vector<ComponentTable> tensor_tables(const ModelFolder& folder) {
  std::vector<ComponentTable> tables;
  tables.push_back(tensor_table("text_encoder", folder.text_encoder, ModelPart::kTextEncoder));
  tables.push_back(tensor_table("transformer", folder.transformer, ModelPart::kTransformer));
  if (!folder.transformer_2.empty()) {
    tables.push_back(tensor_table("transformer_2", folder.transformer_2, ModelPart::kTransformer));
  }
  tables.push_back(tensor_table("vae", folder.vae, ModelPart::kVae));
  return tables;
}

}  // namespace t2v::weights
