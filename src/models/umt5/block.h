// One UMT5 encoder block, as functions of weights that live only while the block runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/placement.h"
#include "models/spec.h"
#include "weights/weight_map.h"

namespace t2v::models::umt5 {

// Weights of one block. Matrices in the compute type, norms and the bias table in fp32.
struct BlockWeights {
  at::Tensor norm1, norm2;    // fp32 [C]
  at::Tensor q, k, v, o;      // [N*D, C], o [C, N*D]
  at::Tensor pos_embedding;   // fp32 [num_buckets, N]
  at::Tensor gate, fc1, fc2;  // [E, C], [E, C], [C, E]
};

// Canonical names and shapes of block `index`.
void expect_block(const TextEncoderSpec& spec, int64_t index, weights::Expectations& expected);

// Matrices may lie in memory of the source: the block runs before that goes.
BlockWeights load_block(const Placement& from, int64_t index);

// Buckets of relative positions for n tokens: int64 [n, n] (key - query), bidirectional
// (Raffel et al. 2020, T5).
at::Tensor relative_buckets(int64_t n, const TextEncoderSpec& spec);

// x fp32 [n, C] (residual stream) -> fp32 [n, C]. buckets: relative_buckets(n).
at::Tensor run_block(const BlockWeights& weights, const TextEncoderSpec& spec, const at::Tensor& x,
                     const at::Tensor& buckets);

}  // namespace t2v::models::umt5
