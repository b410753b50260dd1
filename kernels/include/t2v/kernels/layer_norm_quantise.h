// LayerNorm, rotation by a Hadamard matrix and quantisation to int8 rows in one pass: the input of
// int8 matrix products.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"
#include "t2v/kernels/layer_norm_modulate.h"

namespace t2v::kernels {

// Strides are in elements. columns is a multiple of 8 and of rotation_group, 8 to 16384; 0 <= rows
// < 2^31; row strides from columns to 2^29. x, scale and shift are aligned to 16 bytes, out to 8,
// their strides too (no walk for others: the widths of the models all fit). Nothing overlaps.
struct LayerNormQuantiseArgs {
  const void* x = nullptr;
  std::int8_t* out = nullptr;    // [rows, columns]
  float* row_scale = nullptr;    // [rows]: value = out * row_scale
  const float* scale = nullptr;  // [columns] per group: scale or weight
  const float* shift = nullptr;  // [columns] per group: shift or bias
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t x_row_stride = 0;
  std::int64_t out_row_stride = 0;
  std::int64_t rows_per_group = 0;  // rows that share scale and shift; 0 = all
  std::int64_t group_stride = 0;    // from one vector to the next, >= 0
  int rotation_group = 256;         // 256, 64, 16, 4, or 0 for no rotation
  float eps = 1e-6F;
  DType x_dtype = DType::kFloat32;
  Modulation modulation = Modulation::kScaleShift;
};

// y = LayerNorm(x) * a + b as in layer_norm_modulate; z = y R within consecutive groups of columns,
// R the Kronecker product of 4 (256), 3 (64), 2 (16) or 1 (4) times H4 = 1/2 [1 1 1 -1; 1 1 -1 1; 1
// -1 1 1; -1 1 1 1]; row_scale = max(max|z|, 1e-5) / 127; out = round(z / row_scale), ties to even,
// -127 to 127. fp32 throughout. row_scale of a row with NaN or infinity is one of these, its bytes
// mean nothing. cudaErrorInvalidValue or cudaErrorMisalignedAddress for broken preconditions,
// before any launch.
cudaError_t layer_norm_quantise(const LayerNormQuantiseArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
