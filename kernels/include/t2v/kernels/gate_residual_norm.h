// x += branch * gate on the fp32 residual stream, and the LayerNorm of the new x, in one pass.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"
#include "t2v/kernels/layer_norm_modulate.h"

namespace t2v::kernels {

// Strides are in elements. 1 <= columns <= 16384, 0 <= rows < 2^31, row strides from columns to
// 2^29. Pointers are aligned to their element; 16-byte accesses (8-byte ones of 16-bit elements)
// are used when all pointers, strides and `columns` allow them, else single elements. Nothing
// overlaps x, and out overlaps nothing, not even branch.
struct GateResidualNormArgs {
  float* x = nullptr;  // in place
  const void* branch = nullptr;
  const float* gate = nullptr;   // [columns] per group; null means 1
  const float* scale = nullptr;  // [columns] per group: scale or weight
  const float* shift = nullptr;  // [columns] per group: shift or bias
  void* out = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t x_row_stride = 0;
  std::int64_t branch_row_stride = 0;
  std::int64_t out_row_stride = 0;
  std::int64_t rows_per_group = 0;     // rows that share gate, scale and shift; 0 = all
  std::int64_t gate_group_stride = 0;  // from one gate to the next, >= 0
  std::int64_t norm_group_stride = 0;  // from one scale or shift to the next, >= 0
  float eps = 1e-6F;
  DType branch_dtype = DType::kFloat32;
  DType out_dtype = DType::kFloat32;
  Modulation modulation = Modulation::kScaleShift;
};

// gate_residual followed by layer_norm_modulate, with the same arithmetic: one fused multiply-add
// per element, statistics in fp32 over the sums, out rounded once. cudaErrorInvalidValue or
// cudaErrorMisalignedAddress for broken preconditions, before any launch.
cudaError_t gate_residual_norm(const GateResidualNormArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
