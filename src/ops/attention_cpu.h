// Attention on the CPU: the choice between LibTorch's flash attention, ours and the composed form.
#pragma once

#include "ops/attention.h"
#include "ops/attention_inputs.h"

namespace t2v::ops {

// Throws Error{kDevice} as require_attention (attention.h) does.
void require_cpu_attention(AttentionBackend backend, at::ScalarType dtype, int64_t head_size);

// [L, N*D]. `lse`: fp32 [N, L] to be filled with the natural log of each row's sum of
// exponentials, or undefined; not together with a key_bias on kAuto or kFlash. k and v may be
// prefixes of longer sequences (any strides with dense channels): nothing is copied.
at::Tensor cpu_attention(const AttentionInputs& in, AttentionBackend backend,
                         const at::Tensor& lse = {});

}  // namespace t2v::ops
