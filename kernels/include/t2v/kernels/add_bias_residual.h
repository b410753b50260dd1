// The end of a convolution over video: bias and residual.
#pragma once

#include <cuda_runtime_api.h>

#include "t2v/kernels/dtype.h"
#include "t2v/kernels/video_shape.h"

namespace t2v::kernels {

// y, residual, out [frames, height, width, channels], fewer than 2^31 pixels, 1 to 16384 channels.
// Pointers are aligned to their element; 16-byte accesses of y (8 bytes or more of the others) when
// all pointers, strides and `channels` allow them, else single elements. out may be residual with
// the same strides, or y where types and strides are the same; they overlap in no other way.
struct AddBiasResidualArgs {
  const void* y = nullptr;
  const float* bias = nullptr;     // [channels]
  const void* residual = nullptr;  // of out_dtype; null: none
  void* out = nullptr;
  VideoSize size;
  VideoStrides y_strides;
  VideoStrides residual_strides;
  VideoStrides out_strides;
  DType y_dtype = DType::kFloat32;
  DType out_dtype = DType::kFloat32;
};

// out = (y + bias) + residual, fp32 inside, rounded once. cudaErrorInvalidValue or
// cudaErrorMisalignedAddress for broken preconditions, before any launch.
cudaError_t add_bias_residual(const AddBiasResidualArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
