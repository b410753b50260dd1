// The one place that sees tensors and kernels together: dtype, row stride, stream, status.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include "core/check.h"
#include "t2v/kernels/dtype.h"

namespace t2v::ops {

// Throws Error{kInternal} for a type that no kernel has.
inline kernels::DType kernel_dtype(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return kernels::DType::kFloat32;
    case at::kBFloat16:
      return kernels::DType::kBFloat16;
    case at::kHalf:
      return kernels::DType::kFloat16;
    default:
      break;
  }
  throw Error(ErrorKind::kInternal, core::str("no CUDA kernel for elements of type ", type));
}

// Elements between rows of x [L, C]. The stride of a single row says nothing in ATen.
inline int64_t row_stride(const at::Tensor& x) { return x.size(0) > 1 ? x.stride(0) : x.size(1); }

// x [L, C] with dense rows that do not overlap: x itself, or a copy.
inline at::Tensor dense_rows(const at::Tensor& x) {
  const bool dense = (x.size(1) <= 1 || x.stride(1) == 1) && row_stride(x) >= x.size(1);
  return dense ? x : x.contiguous();
}

// Makes x's device current and holds its current stream for one launch.
class Launch {
 public:
  // `op` is a literal: it names the op in errors.
  Launch(const char* op, const at::Tensor& x)
      : op_(op), guard_(x.device()), stream_(c10::cuda::getCurrentCUDAStream(x.device().index())) {}

  [[nodiscard]] cudaStream_t stream() const { return stream_.stream(); }

  // Throws Error{kDevice} (kOutOfMemory for memory) unless the launch was taken.
  void check(cudaError_t status) const {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // a refused launch must not look like a failure of the next one
    const bool memory = status == cudaErrorMemoryAllocation;
    throw Error(
        memory ? ErrorKind::kOutOfMemory : ErrorKind::kDevice,
        core::str(op_, ": CUDA kernel failed: ", cudaGetErrorString(status), " (",
                  cudaGetErrorName(status), ", device ", static_cast<int>(stream_.device_index()),
                  "); try --device cpu, or T2V_BACKEND=reference"));
  }

 private:
  const char* op_;
  c10::cuda::CUDAGuard guard_;
  c10::cuda::CUDAStream stream_;
};

}  // namespace t2v::ops
