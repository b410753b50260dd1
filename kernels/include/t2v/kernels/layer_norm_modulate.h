// y = (x - mean) * rsqrt(variance + eps) * a + b over rows: adaptive LayerNorm, affine LayerNorm.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

enum class Modulation : std::uint8_t {
  kScaleShift,  // a = 1 + scale, b = shift (adaptive LayerNorm)
  kAffine,      // a = weight, b = bias
};

// Strides are in elements. 1 <= columns <= 16384, 0 <= rows < 2^31, row strides from columns to
// 2^29. Pointers are aligned to their element; 16-byte accesses are used when all pointers and
// strides (and 16-bit `out` at 8 bytes) and `columns` allow them, else single elements. `x` and
// `out` may be the same matrix when their element sizes are equal, and overlap in no other way.
// New fields (rotation and int8 rows as output) come at the end, off by default.
struct LayerNormModulateArgs {
  const void* x = nullptr;
  void* out = nullptr;
  const float* scale = nullptr;  // [columns] per group: scale or weight
  const float* shift = nullptr;  // [columns] per group: shift or bias
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t x_row_stride = 0;
  std::int64_t out_row_stride = 0;
  std::int64_t rows_per_group = 0;  // rows that share a modulation vector; 0 = all
  std::int64_t group_stride = 0;    // from one modulation vector to the next, >= 0
  float eps = 1e-6F;
  DType x_dtype = DType::kFloat32;
  DType out_dtype = DType::kFloat32;
  Modulation modulation = Modulation::kScaleShift;
};

// Statistics and arithmetic in fp32 (two passes over registers), rounded once to out_dtype.
// cudaErrorInvalidValue or cudaErrorMisalignedAddress for broken preconditions, before any launch.
cudaError_t layer_norm_modulate(const LayerNormModulateArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
