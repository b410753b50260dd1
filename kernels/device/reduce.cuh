// Sums and maxima over a warp and over a block. The order of additions is fixed: same input, same
// bits.
#pragma once

#include "t2v/kernels/launch_shape.h"

namespace t2v::kernels {

__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  }
  return value;
}

// Of two values that are not negative; NaN is the largest.
__device__ inline float larger(float a, float b) {
  const int a_bits = __float_as_int(a);
  const int b_bits = __float_as_int(b);
  return __int_as_float(a_bits > b_bits ? a_bits : b_bits);
}

__device__ inline float warp_max(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value = larger(value, __shfl_xor_sync(0xffffffffU, value, offset));
  }
  return value;
}

// Sum over all threads of a one-dimensional block of whole warps, in every thread. `partial` is
// shared memory of kWarpSize floats, used for nothing else in the kernel: there is one barrier
// only, between the writes and the reads. What threads wrote to shared memory before is visible
// afterwards.
__device__ inline float block_sum(float value, float* partial) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int num_warps = static_cast<int>(blockDim.x) / kWarpSize;
  const float sum = warp_sum(value);
  if (lane == 0) partial[warp] = sum;
  __syncthreads();
  return warp_sum(lane < num_warps ? partial[lane] : 0.0F);
}

// The largest value over all threads of a block, in the same way. Values are not negative;
// NaN is the largest.
__device__ inline float block_max(float value, float* partial) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int num_warps = static_cast<int>(blockDim.x) / kWarpSize;
  const float largest = warp_max(value);
  if (lane == 0) partial[warp] = largest;
  __syncthreads();
  return warp_max(lane < num_warps ? partial[lane] : 0.0F);
}

}  // namespace t2v::kernels
