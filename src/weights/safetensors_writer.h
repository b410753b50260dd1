// Writes safetensors files: same tensors, same bytes; visible only when whole.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace t2v::weights {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;  // any device and strides
};

// Writes through a temporary name and renames at the end. Tensors are stored widest dtype first,
// then by name; data starts at a multiple of 8 bytes. Throws Error{kOutput}; Error{kInternal} for
// duplicate names and dtypes that the format cannot hold.
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace t2v::weights
