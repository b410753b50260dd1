// One step of a sampling solver over the latents: guidance, x0, corrector, predictor in one pass.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace t2v::kernels {

// v = uncond + guidance * (cond - uncond); x0 = x - sigma * v;
// corrected = correct_x * x + correct_last * last + correct_x0_1 * x0_1 + correct_x0_2 * x0_2 +
//             correct_x0 * x0;
// next = predict_x * corrected + predict_x0 * x0 + predict_x0_1 * x0_1.
struct SolverFactors {
  float sigma = 0;
  float guidance = 1;
  float correct_x = 1;
  float correct_last = 0;
  float correct_x0_1 = 0;
  float correct_x0_2 = 0;
  float correct_x0 = 0;
  float predict_x = 0;
  float predict_x0 = 0;
  float predict_x0_1 = 0;
};

// fp32 arrays of `size` elements, 0 <= size < 2^38, aligned to 4 bytes; 16-byte accesses when all
// are aligned to 16. An output may be the same array as an input, and overlaps in no other way.
struct SolverStepArgs {
  const float* x = nullptr;
  const float* cond = nullptr;
  const float* uncond = nullptr;  // null: v = cond
  const float* last = nullptr;    // these three null: their factors are 0
  const float* x0_1 = nullptr;
  const float* x0_2 = nullptr;
  float* next = nullptr;
  float* corrected = nullptr;  // null: not wanted
  float* x0 = nullptr;
  std::int64_t size = 0;
  SolverFactors factors;
};

// fp32, fused multiply-adds; arrays that are null are not read. cudaErrorInvalidValue or
// cudaErrorMisalignedAddress for broken preconditions, before any launch.
cudaError_t solver_step(const SolverStepArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
