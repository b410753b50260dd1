// Composed int8 attention: the specification of `own-int8`, on any device, with the same groups and
// roundings as the kernels. It is there for checking quality; as a way to compute it is slow.
#pragma once

#include "ops/attention_inputs.h"

namespace t2v::ops::reference {

// Rows of one head that share a scale.
constexpr int64_t kInt8QueryGroup = 16;
constexpr int64_t kInt8KeyGroup = 64;

// Whether the mean of all keys is taken off each key before rounding. Only tests say kNone.
enum class KeySmoothing { kMean, kNone };

// One operand as int8: value = values * scale of its group of rows.
struct QuantisedHeads {
  at::Tensor values;  // int8 [N, L, D]
  at::Tensor scale;   // fp32 [N, L/group up]
};

// x [N, L, D]; `mean` fp32 [N, D] is subtracted first, or undefined. scale = max|x|/127 + 1e-7 per
// group of rows of a head; values rounded to nearest even.
QuantisedHeads quantise_heads(const at::Tensor& x, const at::Tensor& mean, int64_t group_rows);

// softmax(q * k^T / sqrt(D)) * v with q and k in int8; [L, N*D] in q's type. The weights are
// rounded to v's type, sums are fp32. No key_bias, no lists. `lse`: fp32 [N, L] to be filled, or
// undefined; it is that of the whole scores: what the mean took off is added again. Works through
// queries in chunks, so that the scores never take more than 512 MiB (or 16 rows of one head).
at::Tensor attention_int8(const AttentionInputs& in, const at::Tensor& lse = {},
                          KeySmoothing smoothing = KeySmoothing::kMean);

}  // namespace t2v::ops::reference
