// Queries and keys of attention as int8, one scale per group of neighbouring rows of a head; and
// the mean of all keys of a head, which is taken off them first (softmax does not see it).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

constexpr int kMeanRows = 512;  // rows per partial sum

// Row l of head n of x is at n*head_stride + l*row_stride (elements); channels are dense. x and
// out are aligned to 16 bytes, strides are multiples of 8, else cudaErrorMisalignedAddress.
struct HeadRows {
  const void* x = nullptr;
  std::int64_t head_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t num_heads = 0;      // at least 1
  std::int64_t num_rows = 0;       // at least 1
  std::int64_t head_size = 0;      // 64 or 128
  DType dtype = DType::kBFloat16;  // kBFloat16 or kFloat16
};

struct KeyMeansArgs {
  HeadRows rows;
  float* partial = nullptr;  // [num_heads, num_rows / kMeanRows up, head_size], overwritten
  float* mean = nullptr;     // [num_heads, head_size]
};

// Two launches. fp32 sums in a fixed order: same input, same bits.
cudaError_t key_means(const KeyMeansArgs& args, cudaStream_t stream) noexcept;

struct QuantiseHeadsArgs {
  HeadRows rows;
  const float* mean = nullptr;  // [num_heads, head_size], subtracted; or null
  std::int8_t* out = nullptr;   // [num_heads, num_rows, head_size], -127 .. 127
  float* scale = nullptr;       // [num_heads, num_rows / group_rows up]
  int group_rows = 0;           // 1 .. 64
  float factor = 1.0F;          // stored scales are multiplied by it
};

// scale = max|x - mean| / 127 + 1e-7 of a group, values rounded to nearest even. NaN and infinity
// reach the scale.
cudaError_t quantise_heads(const QuantiseHeadsArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
