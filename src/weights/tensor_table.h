// What a checkpoint holds, tensor by tensor: for `inspect`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/key_map.h"

namespace t2v::weights {

struct TensorRow {
  std::string name;            // as in the file
  std::string canonical;       // native name
  std::string file;            // base name
  std::string dtype;           // "BF16", "Q4_K"
  std::vector<int64_t> shape;  // row-major
  int64_t bytes = 0;           // in the file
};

struct ComponentTable {
  std::string component;            // "text_encoder", "transformer", "transformer_2", "vae"; ""
  std::string path;                 // file or folder
  std::vector<std::string> files;   // base names
  std::vector<TensorRow> tensors;   // sorted by name in the file
  int64_t num_parameters = 0;       // elements of all tensors
  int64_t bytes = 0;                // of all tensors
  std::vector<std::string> dtypes;  // that occur, sorted
};

ComponentTable tensor_table(const std::string& component, const Checkpoint& checkpoint,
                            ModelPart part);

}  // namespace t2v::weights
