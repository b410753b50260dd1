// What a model folder holds, tensor by tensor: for `inspect`. Reads headers only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weights/key_map.h"
#include "weights/model_folder.h"

namespace t2v::weights {

struct TensorRow {
  std::string name;            // as in the file
  std::string canonical;       // native name
  std::string file;            // base name
  std::string dtype;           // "BF16"
  std::vector<int64_t> shape;  // row-major
  int64_t bytes = 0;
};

struct ComponentTable {
  std::string component;            // "text_encoder", "transformer", "transformer_2", "vae"
  std::string path;                 // folder
  std::vector<std::string> files;   // base names
  std::vector<TensorRow> tensors;   // sorted by name in the file
  int64_t num_parameters = 0;       // elements of all tensors
  int64_t bytes = 0;                // of all tensors
  std::vector<std::string> dtypes;  // that occur, sorted
};

// One table per component with weights. Throws Error{kModel}.
std::vector<ComponentTable> tensor_tables(const ModelFolder& folder);

// The table of one folder or file.
ComponentTable tensor_table(const std::string& component, const std::string& path, ModelPart part);

}  // namespace t2v::weights
