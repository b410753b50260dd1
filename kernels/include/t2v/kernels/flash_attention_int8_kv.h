// Flash attention over keys and values that are kept as int8 with a scale per token, head and 64
// channels (a cache). They are expanded to 16 bits in shared memory, a block at a time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/flash_attention.h"

namespace t2v::kernels {

constexpr int kKvScaleGroup = 64;  // channels

// attention.k and .v point to int8, their strides count bytes and are multiples of 16; .q and .out
// have .dtype; .key_bias, .list and .table must be null, .variant kAuto. value = int8 * scale.
struct FlashAttentionInt8KvArgs {
  FlashAttentionArgs attention;
  // fp16, for the row s of head n head_size / 64 neighbours from n*scale_head_stride +
  // s*head_size/64 on; elements.
  const void* k_scale = nullptr;
  const void* v_scale = nullptr;
  std::int64_t k_scale_head_stride = 0;
  std::int64_t v_scale_head_stride = 0;
  // Null, or [num_heads, num_queries]: .out then holds attention over other keys and this the log
  // of their sums; what is written is attention over all keys. Not together with .lse.
  const float* other_lse = nullptr;
};

// Status and aliasing as in flash_attention.
cudaError_t flash_attention_int8_kv(const FlashAttentionInt8KvArgs& args,
                                    cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
