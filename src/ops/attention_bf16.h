// Own CPU attention for processors that multiply bf16 pairs (AVX512-BF16) but have no matrix unit.
#pragma once

#include <cstdint>

namespace t2v::ops::avx512bf16 {

// One call: all heads of one sequence. bf16 as raw 16-bit words; D even.
struct AttentionArgs {
  const uint16_t* q = nullptr;  // head n, row l, channel d at n*q_head_stride + l*q_row_stride + d
  int64_t q_head_stride = 0;
  int64_t q_row_stride = 0;
  const uint16_t* k = nullptr;  // the same for k and v, [N, S, D]
  int64_t k_head_stride = 0;
  int64_t k_row_stride = 0;
  const uint16_t* v = nullptr;
  int64_t v_head_stride = 0;
  int64_t v_row_stride = 0;
  const float* key_bias = nullptr;  // [S] or null
  uint16_t* out = nullptr;          // [L, N, D] contiguous
  float* lse = nullptr;             // [N, L] or null: natural log of the sum of exponentials
  int64_t num_heads = 0;
  int64_t num_queries = 0;  // L
  int64_t num_keys = 0;     // S
  int64_t head_size = 0;    // D
};

// Whether this processor can run it, and nothing faster is known for it (AMX has LibTorch's own).
bool is_preferred() noexcept;
bool is_supported() noexcept;

// Flash attention: keys in blocks, running maximum and sum in fp32, probabilities rounded to bf16.
void attention(const AttentionArgs& args);

}  // namespace t2v::ops::avx512bf16
