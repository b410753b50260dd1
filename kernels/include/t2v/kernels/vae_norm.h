// RMS norm over the channels of each pixel, with or without bias before and SiLU behind.
#pragma once

#include <cuda_runtime_api.h>

#include "t2v/kernels/dtype.h"
#include "t2v/kernels/video_shape.h"

namespace t2v::kernels {

// x, out [frames, height, width, channels], fewer than 2^31 pixels, 1 to 1024 channels. Pointers
// are aligned to their element; 16-byte accesses when all pointers, strides and `channels` allow
// them, else single elements. x and out may be the same array with the same strides; they overlap
// in no other way.
struct VaeNormArgs {
  const void* x = nullptr;
  void* out = nullptr;
  const float* bias = nullptr;   // [channels], added first; null: none
  const float* gamma = nullptr;  // [channels]
  VideoSize size;
  VideoStrides x_strides;
  VideoStrides out_strides;
  DType dtype = DType::kFloat32;  // of x and out
  bool silu = false;
};

// out = act(y / max(|y|, 1e-12) * sqrt(channels) * gamma), y = x + bias. fp32 inside, rounded once.
// cudaErrorInvalidValue or cudaErrorMisalignedAddress for broken preconditions, before any launch.
cudaError_t vae_norm(const VaeNormArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
