// Rotation by a Hadamard matrix and quantisation of rows to one byte per value: the input of 8-bit
// matrix products, and their weights.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

enum class ByteType : std::uint8_t { kInt8, kE4m3 };

// Strides are in elements. columns is a multiple of 8 and of rotation_group, 8 to 16384; 0 <= rows
// < 2^31; row strides from columns to 2^29. x is aligned to 16 bytes, out to 8, their strides too
// (no walk for others: the widths of the models all fit). Nothing overlaps.
struct QuantiseRowsArgs {
  const void* x = nullptr;
  void* out = nullptr;         // [rows, columns], one byte each
  float* row_scale = nullptr;  // [rows]: value = out * row_scale
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t x_row_stride = 0;
  std::int64_t out_row_stride = 0;
  int rotation_group = 256;  // 256, 64, 16, 4, or 0 for no rotation
  DType x_dtype = DType::kFloat32;
  ByteType out_type = ByteType::kInt8;
};

// z = x R as in layer_norm_quantise. int8: row_scale = max(max|z|, 1e-5) / 127; out = round(z /
// row_scale), ties to even, -127 to 127. e4m3: / 448 in place of / 127, rounded to the nearest,
// ties to even. fp32 throughout; the quotients are those of a true division. row_scale of a row
// with NaN or infinity is one of these, its bytes mean nothing. cudaErrorInvalidValue or
// cudaErrorMisalignedAddress for broken preconditions, before any launch.
cudaError_t quantise_rows(const QuantiseRowsArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
