// A tensor as a checkpoint holds it, plain or quantised, and its expansion to a float type.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

#include "weights/tensor_entry.h"

namespace t2v::weights {

// Rows and columns that have a scale in common where scales stand for blocks.
constexpr int64_t kScaleBlock = 128;

struct StoredTensor {
  at::Tensor payload;  // kPlain: stored dtype and shape; else uint8 [bytes]. Contiguous, any device
  Encoding encoding = Encoding::kPlain;
  std::vector<int64_t> shape;  // row-major, of the elements
  // Multiplies the stored values: fp32, a scalar, [N] or [N, 1] (per row), or
  // [ceil(N/128), ceil(K/128)] with block_scale. Undefined: 1.
  at::Tensor scale;
  bool block_scale = false;
  // The stored weight was multiplied by the regular Hadamard matrix in groups of so many columns (a
  // power of 4 that divides K); expansion takes it back (R is its own inverse). 0: not rotated.
  int64_t rotation = 0;
};

// Whether the stored values are 8 bits or fewer, so that a delta must not be added to them.
bool is_quantised(const StoredTensor& stored) noexcept;

// All elements in destination's type (fp32, bf16 or fp16; contiguous, stored.shape, same device);
// fp32 arithmetic, rounded once. Row-parallel loops on the CPU (at::parallel_for), composed ATen
// operations elsewhere.
void expand_into(const StoredTensor& stored, at::Tensor& destination);
// The composed form on any device: specification and oracle of the loops, equal bit by bit.
at::Tensor expand_reference(const StoredTensor& stored, c10::ScalarType dtype);

}  // namespace t2v::weights
