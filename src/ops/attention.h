// Scaled dot-product attention over whole sequences.
#pragma once

#include <ATen/core/Tensor.h>

namespace t2v::ops {

// kAten: LibTorch's own. kOwn: ours (CPU with AVX512-BF16, bf16). kAuto takes ours where it was
// measured faster: 2160 tokens, 12 heads of 128, one Zen 5 core: see docs/benchmarks.md.
enum class AttentionBackend { kAuto, kAten, kOwn };

// softmax(q * k^T / sqrt(D) + key_bias) * v for each head. q [N, L, D], rows contiguous; k, v
// [N, S, D]; key_bias fp32 [S] or undefined. Returns [L, N*D] in q's type. Softmax and sums in
// fp32. Throws Error{kDevice} when the named back end cannot run here.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& key_bias = {},
                     AttentionBackend backend = AttentionBackend::kAuto);

}  // namespace t2v::ops
