// Our flash attention kernel on tensors: the plugin's entry `attention` of the op table.
#pragma once

#include "ops/attention_inputs.h"

namespace t2v::ops::cuda {

// bf16 or fp16, head size 64 or 128 (ops/attention_choice.h), else Error{kInternal}. Tensors whose
// rows are not dense, or not aligned to 16 bytes, are copied first.
at::Tensor attention(const AttentionInputs& in);

}  // namespace t2v::ops::cuda
