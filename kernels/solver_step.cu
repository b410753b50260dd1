// Guidance and solver step: four neighbouring elements per thread.
#include "device/launch.cuh"
#include "device/vec.cuh"
#include "t2v/kernels/solver_step.h"

namespace t2v::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = full_width(sizeof(float));
constexpr std::int64_t kMaxSize = std::int64_t{1} << 38;

using Values = Chunk<float, kWidth>;

// Elements first .. first + count - 1 of an array; zeros for a null array and past the end.
template <bool kWide>
__device__ Values read(const float* array, std::int64_t first, int count) {
  Values values{};
  if (!array) return values;
  if (kWide && count == kWidth) return load_chunk<kWidth>(array + first);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    if (i < count) values.at[i] = array[first + i];
  }
  return values;
}

template <bool kWide>
__device__ void write(float* array, std::int64_t first, int count, const Values& values) {
  if (!array) return;
  if (kWide && count == kWidth) {
    store_chunk(array + first, values);
    return;
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    if (i < count) array[first + i] = values.at[i];
  }
}

template <bool kWide>
__global__ void __launch_bounds__(kThreads)
    solver_step_kernel(const __grid_constant__ SolverStepArgs args) {
  const std::int64_t first = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (first >= args.size) return;
  const int count = static_cast<int>(args.size - first < kWidth ? args.size - first : kWidth);
  const Values x = read<kWide>(args.x, first, count);
  const Values cond = read<kWide>(args.cond, first, count);
  const Values uncond = read<kWide>(args.uncond, first, count);
  const Values last = read<kWide>(args.last, first, count);
  const Values x0_1 = read<kWide>(args.x0_1, first, count);
  const Values x0_2 = read<kWide>(args.x0_2, first, count);
  const SolverFactors& f = args.factors;
  Values x0, corrected, next;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float v =
        args.uncond ? fmaf(f.guidance, cond.at[i] - uncond.at[i], uncond.at[i]) : cond.at[i];
    x0.at[i] = fmaf(-f.sigma, v, x.at[i]);
    float sum = f.correct_x * x.at[i];
    sum = fmaf(f.correct_last, last.at[i], sum);
    sum = fmaf(f.correct_x0_1, x0_1.at[i], sum);
    sum = fmaf(f.correct_x0_2, x0_2.at[i], sum);
    corrected.at[i] = fmaf(f.correct_x0, x0.at[i], sum);
    sum = f.predict_x * corrected.at[i];
    sum = fmaf(f.predict_x0, x0.at[i], sum);
    next.at[i] = fmaf(f.predict_x0_1, x0_1.at[i], sum);
  }
  write<kWide>(args.next, first, count, next);
  write<kWide>(args.corrected, first, count, corrected);
  write<kWide>(args.x0, first, count, x0);
}

// A factor without its array is an error of the caller.
bool complete(const SolverStepArgs& args) noexcept {
  const SolverFactors& f = args.factors;
  return args.x && args.cond && args.next && args.x0 && (args.last || f.correct_last == 0) &&
         (args.x0_1 || (f.correct_x0_1 == 0 && f.predict_x0_1 == 0)) &&
         (args.x0_2 || f.correct_x0_2 == 0);
}

}  // namespace

cudaError_t solver_step(const SolverStepArgs& args, cudaStream_t stream) noexcept {
  if (args.size < 0 || args.size >= kMaxSize) return cudaErrorInvalidValue;
  if (args.size == 0) return cudaSuccess;
  if (!complete(args)) return cudaErrorInvalidValue;
  bool wide = true;
  for (const void* array :
       {static_cast<const void*>(args.x), static_cast<const void*>(args.cond),
        static_cast<const void*>(args.uncond), static_cast<const void*>(args.last),
        static_cast<const void*>(args.x0_1), static_cast<const void*>(args.x0_2),
        static_cast<const void*>(args.next), static_cast<const void*>(args.corrected),
        static_cast<const void*>(args.x0)}) {
    if (address_of(array) % sizeof(float) != 0) return cudaErrorMisalignedAddress;
    wide = wide && address_of(array) % kAccessBytes == 0;
  }
  const std::int64_t blocks = divide_up(args.size, std::int64_t{kThreads} * kWidth);
  const auto kernel = wide ? solver_step_kernel<true> : solver_step_kernel<false>;
  return launch_blocks(kernel, blocks, kThreads, stream, args);
}

}  // namespace t2v::kernels
