// Attention over a cache of keys and values, part of which may be kept as int8.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/attention.h"
#include "ops/attention_inputs.h"

namespace t2v::ops {

// Scales of one row of `head_size` channels in a cache of int8: one for each group of neighbouring
// channels. A group has 64 of them, or the most below that divide the head size.
int64_t kv_scale_groups(int64_t head_size);

// x [N, n, D] as int8: values (int8 [N, n, D]) and scale (fp16 [N, n, groups]) are overwritten and
// may be strided views, such as a slot of a ring. scale = max|group| / 127; a group of zeros stays
// zeros, one with NaN, infinity or more than fp16 can scale gets a scale that is not finite.
void quantise_keys(const at::Tensor& x, const at::Tensor& values, const at::Tensor& scale);

// The other way, in `dtype`: values * scale, one rounding.
at::Tensor expand_keys(const at::Tensor& values, const at::Tensor& scale, at::ScalarType dtype);

// softmax over the 16-bit keys and the int8 keys together, q [N, L, D] -> [L, N*D]. k16 and v16
// [N, S16, D] have q's type (which may be fp32), may be prefixes of a longer ring, and may be empty
// when there is a window. window null: attention() of ops/attention.h. Else: CPU, and CUDA where
// our kernels do not run (head size other than 64 and 128, fp32, kReference): int8 keys are
// expanded some MiB at a time, and the parts' results merged by their log-sum-exp in fp32; CUDA:
// expanded inside the kernel. With a window kOwnInt8 is kOwn on CUDA and kAuto on the CPU, and on
// CUDA every fused back end is kOwn.
at::Tensor cached_attention(at::Tensor q, const at::Tensor& k16, const at::Tensor& v16,
                            const Int8KeyValues* window,
                            AttentionBackend backend = AttentionBackend::kAuto);

}  // namespace t2v::ops
