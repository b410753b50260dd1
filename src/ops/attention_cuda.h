// Attention on CUDA tensors: the choice between LibTorch's kernels and ours.
#pragma once

#include "ops/attention.h"
#include "ops/attention_choice.h"
#include "ops/attention_inputs.h"

namespace t2v::ops {

// What serves this call; contracts as in attention.h. Throws Error{kDevice}.
CudaAttention cuda_attention_kernel(AttentionBackend backend, const AttentionShape& shape,
                                    bool has_key_bias);

at::Tensor cuda_attention(AttentionInputs in, AttentionBackend backend);

}  // namespace t2v::ops
