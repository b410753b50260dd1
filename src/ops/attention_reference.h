// Composed attention: the specification of every attention kernel, on any device.
#pragma once

#include "ops/attention_inputs.h"

namespace t2v::ops::reference {

// softmax(q * k^T / sqrt(D) + key_bias) * v in fp32 (fp64 for fp64 inputs), one rounding at the
// end; [L, N*D]. Works through queries in chunks, so that the scores never take more than 512 MiB
// (or one row of one head). block_mask: bool [N or 1, L/128 up, S/64 up], true where a block of
// queries visits a block of keys; undefined: everywhere. Each row of it has at least one true.
// `lse`: fp32 [N, L] to be filled with the natural log of each row's sum, or undefined.
at::Tensor attention(const AttentionInputs& in, const at::Tensor& block_mask = {},
                     const at::Tensor& lse = {});

// The mask that says the same as in.lut and in.counts; undefined when those are.
at::Tensor block_mask(const AttentionInputs& in);

}  // namespace t2v::ops::reference
