// The GGML block formats in composed ATen operations: specification, oracle, and the path on
// devices without loops of their own.
#pragma once

#include <ATen/core/Tensor.h>

#include "weights/tensor_entry.h"

namespace t2v::weights {

// payload: uint8 [bytes], whole blocks. Returns fp32 [elements] on its device.
at::Tensor decode_ggml(Encoding encoding, const at::Tensor& payload);

}  // namespace t2v::weights
