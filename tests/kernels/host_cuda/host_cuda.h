// Runs a CUDA kernel's source on the host: each thread of a block is a fibre, and all fibres go on
// together from one synchronisation to the next. Force-included before a .cu that is compiled as
// C++. Enough for kernels whose threads all meet at the same __syncthreads and full-warp shuffles;
// it checks arithmetic and indices, not speed or races between barriers.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
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

// Runs the body once for each thread of each block; the barrier must be reached by all that have
// not returned.
void run_grid(const dim3& grid, const dim3& block, const std::function<void()>& body);
void barrier();
float shuffle_xor(float value, int mask);

}  // namespace t2v::host_cuda

inline void __syncthreads() { ::t2v::host_cuda::barrier(); }
inline float __shfl_xor_sync(unsigned /*all*/, float value, int mask) {
  return ::t2v::host_cuda::shuffle_xor(value, mask);
}
inline float rsqrtf(float value) { return 1.0F / std::sqrt(value); }

template <typename Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Args),
                               const Args& args) {
  ::t2v::host_cuda::run_grid(config->gridDim, config->blockDim, [&] { kernel(args); });
  return cudaSuccess;
}
