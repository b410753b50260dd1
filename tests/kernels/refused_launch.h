// What the tests of launchers share: a launch that must not happen, with arguments that were good.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>

#include "host_cuda/host_cuda.h"

namespace t2v::kernels {

constexpr cudaError_t kInvalid = cudaErrorInvalidValue;
constexpr cudaError_t kMisaligned = cudaErrorMisalignedAddress;

// Runs `op` with `good` arguments after `change`, and checks that nothing was launched.
template <typename Args, typename Change>
cudaError_t refused_status(cudaError_t (*op)(const Args&, cudaStream_t) noexcept, Args good,
                           const Change& change) {
  change(good);
  const long before = t2v::host_cuda::num_blocks_run;
  const cudaError_t status = op(good, nullptr);
  CHECK(t2v::host_cuda::num_blocks_run == before);
  return status;
}

template <typename T>
T* shifted(T* pointer, int bytes) {
  return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(pointer) +
                              static_cast<std::uintptr_t>(bytes));
}

}  // namespace t2v::kernels
