// y = x * rsqrt(mean(x^2) + eps) * weight over rows.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

// Strides are in elements. 1 <= columns <= 16384, 0 <= rows < 2^31, row strides from columns to
// 2^29. Pointers are aligned to their element; 16-byte accesses are used when all pointers, strides
// and `columns` allow them, else single elements. `x` and `out` may be the same matrix.
struct RmsNormArgs {
  const void* x = nullptr;
  void* out = nullptr;
  const float* weight = nullptr;  // [columns]
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t x_row_stride = 0;
  std::int64_t out_row_stride = 0;
  float eps = 1e-6F;
  DType dtype = DType::kFloat32;  // of x and out
};

// fp32 inside, rounded once at the end. cudaErrorInvalidValue or cudaErrorMisalignedAddress for
// broken preconditions, before any launch.
cudaError_t rms_norm(const RmsNormArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
