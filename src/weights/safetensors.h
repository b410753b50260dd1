// The safetensors container: header parsing with full validation. No tensor data is read here.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>

#include "weights/byte_source.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {

// Reads and validates the header: at most 100,000,000 bytes, an object of known dtypes whose byte
// ranges agree with shapes and cover the file without overlap or holes. Throws Error{kind of the
// source} naming file and tensor.
ContainerHeader read_safetensors_header(const ByteSource& source);

// The container's word for a dtype ("BF16"); nullptr when it has none.
const char* safetensors_dtype_name(c10::ScalarType dtype) noexcept;
// The reverse; Undefined when unknown.
c10::ScalarType safetensors_dtype(const std::string& name) noexcept;

}  // namespace t2v::weights
