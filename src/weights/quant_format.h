// What a quantising program says about a layer: `X.comfy_quant` tensors and the file's
// `_quantization_metadata`. Used by quant_scheme.cpp only.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "weights/checkpoint.h"

namespace t2v::weights {

struct LayerFormat {
  std::string format;    // "int8_tensorwise", "float8_e4m3fn", ...
  int64_t rotation = 0;  // group of columns, 0: not rotated
  std::string said_by;   // the tensor or the metadata, for messages
};

// By layer: the name of its weight without ".weight". Throws Error{kind of the checkpoint} naming
// file and tensor when what is said cannot be understood.
std::map<std::string, LayerFormat> read_layer_formats(const Checkpoint& checkpoint);

// The group of `t2v.rotate` in the metadata of files that t2v has quantised; 0 without it.
int64_t read_file_rotation(const Checkpoint& checkpoint);

}  // namespace t2v::weights
