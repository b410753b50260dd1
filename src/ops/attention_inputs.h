// What one attention kernel is given: a sequence, and optionally which blocks of keys it visits.
#pragma once

#include <ATen/core/Tensor.h>

namespace t2v::ops {

struct AttentionInputs {
  at::Tensor q, k, v;   // [N, L, D], [N, S, D], [N, S, D]; channels dense, other strides free
  at::Tensor key_bias;  // fp32 [S] or undefined
  // Query block i (128 rows) of head h visits key blocks (64 rows) lut[h][i][0 .. counts[h][i] -
  // 1], ascending, at least one; int32 [N or 1, blocks, most] and [N or 1, blocks]. Undefined: all.
  at::Tensor lut, counts;
};

// Keys and values kept as int8: value = int8 * scale of its token, head and group of channels
// (kv_scale_groups in ops/kv_attention.h). All may be prefixes of a longer ring.
struct Int8KeyValues {
  at::Tensor k, v;              // int8 [N, S, D]
  at::Tensor k_scale, v_scale;  // fp16 [N, S, groups]
};

}  // namespace t2v::ops
