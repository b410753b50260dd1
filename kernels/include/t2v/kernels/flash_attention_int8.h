// Flash attention with queries and keys in int8: softmax(q_scale * k_scale * q*k^T) * v, where v,
// the weights and the output are 16-bit. What quantise_heads makes goes in here.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/flash_attention.h"

namespace t2v::kernels {

// Neighbouring rows of one head that share a scale. Those of keys are the kernel's blocks.
constexpr int kInt8QueryGroup = 16;
constexpr int kInt8KeyGroup = kKeyBlock;

// attention.q and .k point to int8, -127 .. 127 (-128 not), their strides count bytes and are
// multiples of 16; .v and .out have .dtype and strides in elements as in FlashAttentionArgs;
// .scale is not used; .key_bias, .list and .table must be null. Variants: kAuto,
// kFourWarpsTwoStages, and for head size 128 kEightWarpsTwoStages; all give the same bits.
// .lse is that of these scores: where the keys' mean was taken off, q * mean is missing.
struct FlashAttentionInt8Args {
  FlashAttentionArgs attention;
  const float* q_scale =
      nullptr;  // [num_heads, num_queries / 16 up], softmax scale * log2(e) in it
  const float* k_scale = nullptr;  // [num_heads, num_keys / 64 up]; products with q_scale positive
};

// Status and aliasing as in flash_attention.
cudaError_t flash_attention_int8(const FlashAttentionInt8Args& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
