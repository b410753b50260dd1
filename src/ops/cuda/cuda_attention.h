// Our flash attention kernels on tensors: the plugin's entries `attention`, `attention_int8` and
// `cached_attention` of the op table.
#pragma once

#include "ops/attention_inputs.h"

namespace t2v::ops::cuda {

// bf16 or fp16, head size 64 or 128 (ops/attention_choice.h), else Error{kInternal}. Tensors whose
// rows are not dense, or not aligned to 16 bytes, are copied first.
at::Tensor attention(const AttentionInputs& in);
// The same types. No key_bias, no lists.
at::Tensor attention_int8(AttentionInputs in);
at::Tensor cached_attention(const AttentionInputs& in, const Int8KeyValues& window);

}  // namespace t2v::ops::cuda
