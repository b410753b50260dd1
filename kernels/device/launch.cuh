// The launch of a kernel, with the status of this launch only (not of earlier work).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "t2v/kernels/launch_shape.h"

namespace t2v::kernels {

// `blocks` blocks of `threads` threads; the caller has validated both.
template <typename Args>
cudaError_t launch_blocks(void (*kernel)(Args), std::int64_t blocks, int threads,
                          cudaStream_t stream, const Args& args) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, args);
}

// `blocks` blocks of threads_for(columns) threads.
template <typename Args>
cudaError_t launch_rows(void (*kernel)(Args), std::int64_t blocks, std::int64_t columns,
                        cudaStream_t stream, const Args& args) {
  return launch_blocks(kernel, blocks, threads_for(columns), stream, args);
}

}  // namespace t2v::kernels
