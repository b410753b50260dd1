// Element types on the device: run-time DType to a type, once at the edge; conversion to fp32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

template <typename T>
struct Type {
  using type = T;
};

// Calls body(Type<T>{}) with the type of `dtype`; cudaErrorInvalidValue for anything else.
template <typename Body>
cudaError_t with_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kFloat32:
      return body(Type<float>{});
    case DType::kBFloat16:
      return body(Type<__nv_bfloat16>{});
    case DType::kFloat16:
      return body(Type<__half>{});
  }
  return cudaErrorInvalidValue;
}

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline float to_float(__half value) { return __half2float(value); }

// Round to nearest even.
__device__ inline void from_float(float value, float& out) { out = value; }
__device__ inline void from_float(float value, __nv_bfloat16& out) {
  out = __float2bfloat16_rn(value);
}
__device__ inline void from_float(float value, __half& out) { out = __float2half_rn(value); }

}  // namespace t2v::kernels
