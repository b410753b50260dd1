#include "weights/tensor_table.h"

#include <set>

#include "weights/storage.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {

ComponentTable tensor_table(const std::string& component, const Checkpoint& checkpoint,
                            ModelPart part) {
  ComponentTable table;
  table.component = component;
  table.path = checkpoint.path();
  table.bytes = checkpoint.bytes_total();
  for (const auto& file : checkpoint.files()) table.files.push_back(base_name(file->name()));
  std::vector<std::string> names;
  names.reserve(checkpoint.tensors().size());
  for (const TensorEntry& entry : checkpoint.tensors()) names.push_back(entry.name);
  const KeyMap keys(part, names);
  std::set<std::string> dtypes;
  for (size_t i = 0; i < names.size(); ++i) {
    const TensorEntry& entry = checkpoint.tensors()[i];
    const std::string dtype(stored_type_name(entry));
    table.num_parameters += num_elements(entry.shape);
    dtypes.insert(dtype);
    table.tensors.push_back({.name = entry.name,
                             .canonical = keys.canonical()[i],
                             .file = table.files[static_cast<size_t>(entry.file_index)],
                             .dtype = dtype,
                             .shape = entry.shape,
                             .bytes = entry.bytes});
  }
  table.dtypes.assign(dtypes.begin(), dtypes.end());
  return table;
}

}  // namespace t2v::weights
