// Runs a CUDA kernel's source on the host: each thread of a block is a fibre, force-included before
// a .cu that is compiled as C++. A warp runs on alone until its next __syncthreads, so that a
// missing barrier shows; lanes meet at shuffles and at the instructions of host_mma.h. It checks
// arithmetic and indices, and what a test with poisoned memory can see of missing barriers and
// waits; not speed. Threads of a warp may not diverge around the operations at which they meet.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstring>
#include <functional>

#undef __shared__
#define __shared__ static  // blocks run one after the other
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __grid_constant__
#define __grid_constant__

// CUDA's own names, set for the thread that runs.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;

namespace t2v::host_cuda {

// Blocks run so far, over all launches.
extern long num_blocks_run;

// The device that the kernels are told of. Defaults: the smallest supported, 100 and 99 KiB.
struct Device {
  int shared_bytes_per_multiprocessor = 100 * 1024;
  int shared_bytes_per_block = 99 * 1024;
  int capability_major = 8;
};
extern Device device;

// Runs the body once for each thread of each block; the barrier must be reached by all that have
// not returned. Dynamic shared memory is NaN at the start of each block.
void run_grid(const dim3& grid, const dim3& block, std::size_t shared_bytes,
              const std::function<void()>& body);
// Whether a launch with so much dynamic shared memory is allowed for this kernel.
bool allows_shared(const void* kernel, std::size_t bytes);
void barrier();

// All lanes of the warp come, the last one runs `operation` on the numbers of the warp's threads
// first .. first + lanes - 1. Every lane must name the same operation.
void meet_warp(void (*operation)(unsigned first, unsigned lanes));

float shuffle_xor(float value, int mask);
bool any(bool value);

}  // namespace t2v::host_cuda

inline void __syncthreads() { ::t2v::host_cuda::barrier(); }
inline float __shfl_xor_sync(unsigned /*all*/, float value, int mask) {
  return ::t2v::host_cuda::shuffle_xor(value, mask);
}
inline int __any_sync(unsigned /*all*/, bool value) { return ::t2v::host_cuda::any(value); }
inline void __syncwarp() { ::t2v::host_cuda::any(false); }
inline float rsqrtf(float value) { return 1.0F / std::sqrt(value); }
inline float __expf(float value) { return std::exp(value); }
inline float __fdividef(float value, float divisor) { return value / divisor; }
inline int __float_as_int(float value) {
  int bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline float __int_as_float(int bits) {
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline int atomicAdd(int* target, int value) {
  const int old = *target;
  *target += value;
  return old;
}

template <typename Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Args),
                               const Args& args) {
  if (!::t2v::host_cuda::allows_shared(reinterpret_cast<const void*>(kernel),
                                       config->dynamicSmemBytes))
    return cudaErrorInvalidValue;
  ::t2v::host_cuda::run_grid(config->gridDim, config->blockDim, config->dynamicSmemBytes,
                             [&] { kernel(args); });
  return cudaSuccess;
}

#include "host_cuda/host_mma.h"
