// Element types that kernels read and write, and the mark of functions shared by host and device.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define T2V_HOST_DEVICE __host__ __device__
#else
#define T2V_HOST_DEVICE
#endif

namespace t2v::kernels {

enum class DType : std::uint8_t { kFloat32, kBFloat16, kFloat16 };

// Bytes of one element; 0 for a value outside the enumeration.
T2V_HOST_DEVICE constexpr int element_bytes(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return 4;
    case DType::kBFloat16:
    case DType::kFloat16:
      return 2;
  }
  return 0;
}

}  // namespace t2v::kernels
