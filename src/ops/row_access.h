// Rows of an fp32 or bf16 tensor for loops that work in fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/row_loops.h"

namespace t2v::ops {

// The types that our CPU loops have.
inline bool is_fast(at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; }

// `scratch` of its members holds one row.
struct RowAccess {
  explicit RowAccess(const at::Tensor& x)
      : base(const_cast<char*>(static_cast<const char*>(x.const_data_ptr()))),
        stride_bytes(x.stride(0) * x.element_size()),
        bf16(x.scalar_type() == at::kBFloat16) {}

  [[nodiscard]] const float* read(int64_t row, int64_t first, int64_t n, float* scratch) const {
    const char* at = base + row * stride_bytes;
    if (!bf16) return reinterpret_cast<const float*>(at) + first;
    row::widen_bf16(reinterpret_cast<const uint16_t*>(at) + first, scratch, n);
    return scratch;
  }
  // Where to compute row `row`: in place for fp32, in scratch for bf16.
  [[nodiscard]] float* target(int64_t row, float* scratch) const {
    return bf16 ? scratch : reinterpret_cast<float*>(base + row * stride_bytes);
  }
  void write(int64_t row, const float* values, int64_t n) const {
    if (bf16) row::narrow_bf16(values, reinterpret_cast<uint16_t*>(base + row * stride_bytes), n);
  }

  char* base;
  int64_t stride_bytes;
  bool bf16;
};

}  // namespace t2v::ops
