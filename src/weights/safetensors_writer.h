// Writes safetensors files: same tensors, same bytes; visible only when whole.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace t2v::weights {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;  // any device and strides
};

// What a header says of one tensor.
struct HeaderTensor {
  std::string name;
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  std::vector<int64_t> shape;

  [[nodiscard]] int64_t bytes() const noexcept;
};

// The start of a file, its length first, up to where data begins: a multiple of `alignment`.
// Tensors lie in the order given, without gaps. Throws Error{kInternal} for duplicate names and
// dtypes that the format cannot hold.
std::string safetensors_header(const std::vector<HeaderTensor>& tensors,
                               const std::map<std::string, std::string>& metadata,
                               int64_t alignment);

// Writes through a temporary name and renames at the end. Tensors are stored widest dtype first,
// then by name; data starts at a multiple of 8 bytes. Throws Error{kOutput}; Error{kInternal} for
// duplicate names and dtypes that the format cannot hold.
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace t2v::weights
