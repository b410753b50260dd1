// What the launchers of flash attention share: checks of sizes and operands, and the launch.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

#include "device/flash_params.cuh"

namespace t2v::kernels {

constexpr std::int64_t kMaxRows = (std::int64_t{1} << 31) - 4 * kQueryBlock;
constexpr std::int64_t kMaxHeads = 65535;
// rows * row stride + heads * head stride stays below 2^62 elements.
constexpr std::int64_t kMaxRow = std::int64_t{1} << 29;
constexpr std::int64_t kMaxHead = std::int64_t{1} << 44;
constexpr double kLog2E = 1.4426950408889634;

struct Operand {
  const void* pointer;
  std::int64_t head_stride;
  std::int64_t row_stride;
  int element_bytes;
};

inline bool valid_operand(const Operand& x, std::int64_t head_size) noexcept {
  return x.pointer && x.row_stride >= head_size && x.row_stride <= kMaxRow && x.head_stride >= 0 &&
         x.head_stride <= kMaxHead;
}

inline bool aligned_operand(const Operand& x) noexcept {
  const int width = full_width(x.element_bytes);
  return address_of(x.pointer) % kAccessBytes == 0 && x.row_stride % width == 0 &&
         x.head_stride % width == 0;
}

// All of a launch: valid ones first, then aligned ones.
template <int kCount>
cudaError_t check_operands(const Operand (&operands)[kCount], std::int64_t head_size) noexcept {
  for (const Operand& operand : operands) {
    if (!valid_operand(operand, head_size)) return cudaErrorInvalidValue;
  }
  for (const Operand& operand : operands) {
    if (!aligned_operand(operand)) return cudaErrorMisalignedAddress;
  }
  return cudaSuccess;
}

inline bool valid_sizes(const FlashAttentionArgs& args) noexcept {
  const std::int64_t blocks = divide_up(args.num_queries, kQueryBlock);
  return args.num_heads >= 1 && args.num_heads <= kMaxHeads && args.num_queries >= 0 &&
         args.num_queries <= kMaxRows && args.num_keys >= 1 && args.num_keys <= kMaxRows &&
         blocks * args.num_heads <= kMaxBlocks && args.scale > 0.0F && std::isfinite(args.scale) &&
         std::isfinite(1.0F / args.scale);
}

// Head size, type and pointers' alignment of the words that every variant may be given.
inline bool valid_types(const FlashAttentionArgs& args) noexcept {
  return (args.dtype == DType::kBFloat16 || args.dtype == DType::kFloat16) &&
         (args.head_size == 64 || args.head_size == 128);
}

inline bool has_no_lists(const FlashAttentionArgs& args) noexcept {
  return !args.list.lut && !args.list.counts && !args.table.first_row && !args.table.num_rows;
}

// Fills in what follows from the arguments; the number of key blocks is that of no table.
inline void derive(FlashParams& params, const FlashAttentionArgs& args) noexcept {
  params.args = args;
  params.scale_log2 = static_cast<float>(args.scale * kLog2E);
  params.inverse_scale = 1.0F / args.scale;
  params.num_query_blocks = static_cast<int>(divide_up(args.num_queries, kQueryBlock));
  params.num_key_blocks = static_cast<int>(divide_up(args.num_keys, kKeyBlock));
}

inline cudaError_t shared_bytes_per_multiprocessor(int& bytes) noexcept {
  int device = 0;
  const cudaError_t status = cudaGetDevice(&device);
  if (status != cudaSuccess) return status;
  return cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
}

// A block of threads per block of queries and head.
template <typename Params>
cudaError_t launch_flash(void (*kernel)(Params), const Params& params, int threads,
                         int shared_bytes, cudaStream_t stream) {
  const cudaError_t status =
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                           cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (status != cudaSuccess) return status;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(params.num_query_blocks * params.args.num_heads));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, params);
}

}  // namespace t2v::kernels
