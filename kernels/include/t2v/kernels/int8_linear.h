// Linear layers on int8 rows and int8 weights: exact integer sums on the tensor cores, scales, bias
// and what follows in the epilogue.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

enum class Int8Epilogue : std::uint8_t {
  kStore,     // out = y
  kGelu,      // out = gelu(y), the tanh form
  kResidual,  // out += gate * y, out fp32
};

// Strides are in elements. 0 <= rows < 2^31 - 128; columns a multiple of 8 from 8 to 2^24; depth a
// multiple of 16 from 16 to 131056 (sums of products of any int8 then fit int32); strides of x and
// weight from depth to 2^24, multiples of 16; that of out from columns to 2^29. x, weight and out
// are aligned to 16 bytes, out's stride too; the vectors to 4. out overlaps nothing.
struct Int8LinearArgs {
  const std::int8_t* x = nullptr;       // [rows, depth]
  const std::int8_t* weight = nullptr;  // [columns, depth]
  const float* x_scale = nullptr;       // [rows]
  const float* weight_scale = nullptr;  // [columns]
  const float* bias = nullptr;          // [columns]; null means 0
  const float* gate = nullptr;          // [columns], kResidual only; null means 1
  void* out = nullptr;                  // [rows, columns]
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  std::int64_t x_row_stride = 0;
  std::int64_t weight_row_stride = 0;
  std::int64_t out_row_stride = 0;
  DType out_dtype = DType::kBFloat16;
  Int8Epilogue epilogue = Int8Epilogue::kStore;
};

// y[m][n] = sum_k x[m][k] * weight[n][k] * (x_scale[m] * weight_scale[n]) + bias[n]: the sum exact,
// rounded to fp32; one multiplication of the scales, one fused multiply-add. GELU in fp32 (error
// below 1e-6 of its argument); out is rounded once. Needs 96 KiB of shared memory per block.
// cudaErrorInvalidValue or cudaErrorMisalignedAddress for broken preconditions, before any launch.
cudaError_t int8_linear(const Int8LinearArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
