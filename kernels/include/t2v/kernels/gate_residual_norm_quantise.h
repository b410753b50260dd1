// x += branch * gate on the fp32 residual stream, and the LayerNorm of the new x as rotated int8
// rows, in one pass.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"
#include "t2v/kernels/layer_norm_modulate.h"

namespace t2v::kernels {

// Strides are in elements. columns is a multiple of 8 and of rotation_group, 8 to 16384; 0 <= rows
// < 2^31; row strides from columns to 2^29. x, branch, gate, scale and shift are aligned to 16
// bytes, out to 8, their strides too. Nothing overlaps.
struct GateResidualNormQuantiseArgs {
  float* x = nullptr;  // in place
  const void* branch = nullptr;
  const float* gate = nullptr;   // [columns] per group; null means 1
  const float* scale = nullptr;  // [columns] per group: scale or weight
  const float* shift = nullptr;  // [columns] per group: shift or bias
  std::int8_t* out = nullptr;    // [rows, columns]
  float* row_scale = nullptr;    // [rows]: value = out * row_scale
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t x_row_stride = 0;
  std::int64_t branch_row_stride = 0;
  std::int64_t out_row_stride = 0;
  std::int64_t rows_per_group = 0;     // rows that share gate, scale and shift; 0 = all
  std::int64_t gate_group_stride = 0;  // from one gate to the next, >= 0
  std::int64_t norm_group_stride = 0;  // from one scale or shift to the next, >= 0
  int rotation_group = 256;            // 256, 64, 16, 4, or 0 for no rotation
  float eps = 1e-6F;
  DType branch_dtype = DType::kFloat32;
  Modulation modulation = Modulation::kScaleShift;
};

// gate_residual followed by layer_norm_quantise, with the same arithmetic. cudaErrorInvalidValue or
// cudaErrorMisalignedAddress for broken preconditions, before any launch.
cudaError_t gate_residual_norm_quantise(const GateResidualNormQuantiseArgs& args,
                                        cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
