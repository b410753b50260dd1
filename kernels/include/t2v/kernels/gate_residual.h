// x += branch * gate on the fp32 residual stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

// Strides are in elements. 1 <= columns <= 16384, 0 <= rows < 2^31, row strides from columns to
// 2^29. Pointers are aligned to their element; 16-byte accesses (8-byte ones of a 16-bit branch)
// are used when all pointers, strides and `columns` allow them, else single elements. x does not
// overlap branch or gate. New fields (the next norm in the same pass) come at the end, off by
// default.
struct GateResidualArgs {
  float* x = nullptr;  // in place
  const void* branch = nullptr;
  const float* gate = nullptr;  // [columns] per group; null means 1
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t x_row_stride = 0;
  std::int64_t branch_row_stride = 0;
  std::int64_t rows_per_group = 0;  // rows that share a gate; 0 = all
  std::int64_t group_stride = 0;    // from one gate to the next, >= 0
  DType branch_dtype = DType::kFloat32;
};

// fp32, one fused multiply-add per element. cudaErrorInvalidValue or cudaErrorMisalignedAddress for
// broken preconditions, before any launch.
cudaError_t gate_residual(const GateResidualArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
