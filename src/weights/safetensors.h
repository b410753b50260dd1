// The safetensors container: header parsing with full validation. No tensor data is read here.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "weights/byte_source.h"

namespace t2v::weights {

// Where one tensor lies and what it is.
struct TensorEntry {
  std::string name;  // as in the file
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  std::vector<int64_t> shape;  // row-major, may hold zeros
  int32_t file_index = 0;      // which file of the checkpoint
  int64_t offset = 0;          // from the start of the file
  int64_t bytes = 0;           // elements x element size
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;             // sorted by name, no duplicates
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// Reads and validates the header: at most 100,000,000 bytes, an object of known dtypes whose byte
// ranges agree with shapes and cover the file without overlap or holes. Throws Error{kind of the
// source} naming file and tensor.
SafetensorsHeader read_safetensors_header(const ByteSource& source);

// The container's word for a dtype ("BF16"); nullptr when it has none.
const char* safetensors_dtype_name(c10::ScalarType dtype) noexcept;
// The reverse; Undefined when unknown.
c10::ScalarType safetensors_dtype(const std::string& name) noexcept;

}  // namespace t2v::weights
