// int8 rows back to numbers, the rotation taken back: weights for products in 16 or 32 bits.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

// Strides are in elements. columns is a multiple of 8 and of rotation_group, 8 to 16384; 0 <= rows
// < 2^31; row strides from columns to 2^29. x is aligned to 8 bytes, out to 16, their strides too.
// Nothing overlaps.
struct ExpandInt8RowsArgs {
  const std::int8_t* x = nullptr;
  const float* row_scale = nullptr;  // [rows]
  void* out = nullptr;               // [rows, columns]
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t x_row_stride = 0;
  std::int64_t out_row_stride = 0;
  int rotation_group = 256;  // 256, 64, 16, 4, or 0 for no rotation
  DType out_dtype = DType::kBFloat16;
};

// out = (x R) * row_scale, R as in layer_norm_quantise (its own inverse): the rotated levels are
// exact in fp32, the product is rounded, and rounded once more to out. Every int8 is accepted.
// cudaErrorInvalidValue or cudaErrorMisalignedAddress for broken preconditions, before any launch.
cudaError_t expand_int8_rows(const ExpandInt8RowsArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
