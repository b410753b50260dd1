// Heads of attention as int8: sums of keys by parts of their rows, means, and groups of rows.
#include "device/launch.cuh"
#include "device/reduce.cuh"
#include "device/vec.cuh"
#include "t2v/kernels/quantise_heads.h"

namespace t2v::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 8;  // one access of 16 bytes
constexpr int kMaxHeadSize = 128;
constexpr int kMaxGroupRows = 64;
constexpr int kItems = kMaxGroupRows * kMaxHeadSize / kWidth / kThreads;
constexpr float kLargest = 127.0F;
constexpr float kSmallestScale = 1e-7F;
constexpr std::int64_t kMaxRows = std::int64_t{1} << 31;
constexpr std::int64_t kMaxStride = std::int64_t{1} << 44;

template <typename T>
__device__ inline Chunk<T, kWidth> load_part(const HeadRows& rows, int head, std::int64_t row,
                                             int column) {
  return load_chunk<kWidth>(static_cast<const T*>(rows.x) + head * rows.head_stride +
                            row * rows.row_stride + column);
}

// A block sums kMeanRows rows of a head: neighbouring threads take neighbouring channels.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    key_sums_kernel(const __grid_constant__ KeyMeansArgs args) {
  __shared__ float sums[kThreads * kWidth];
  const int head_size = static_cast<int>(args.rows.head_size);
  const int parts = static_cast<int>((args.rows.num_rows + kMeanRows - 1) / kMeanRows);
  const int head = static_cast<int>(blockIdx.x) / parts;
  const int part = static_cast<int>(blockIdx.x) % parts;
  const int thread = static_cast<int>(threadIdx.x);
  const int row_chunks = head_size / kWidth;
  const int lanes = kThreads / row_chunks;
  const int column = thread % row_chunks * kWidth;
  const std::int64_t first = std::int64_t{part} * kMeanRows;
  const std::int64_t end =
      first + kMeanRows < args.rows.num_rows ? first + kMeanRows : args.rows.num_rows;
  float sum[kWidth] = {};
  for (std::int64_t row = first + thread / row_chunks; row < end; row += lanes) {
    const Chunk<T, kWidth> chunk = load_part<T>(args.rows, head, row, column);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] += to_float(chunk.at[i]);
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sums[thread * kWidth + i] = sum[i];
  __syncthreads();
  // Thread t holds channels t % row_chunks * 8 of lane t / row_chunks: lane by lane, head_size
  // wide.
  if (thread >= head_size) return;
  float total = 0.0F;
  for (int lane = 0; lane < lanes; ++lane) total += sums[lane * head_size + thread];
  args.partial[std::int64_t{blockIdx.x} * head_size + thread] = total;
}

__global__ void __launch_bounds__(kMaxHeadSize)
    key_means_kernel(const __grid_constant__ KeyMeansArgs args) {
  const std::int64_t head_size = args.rows.head_size;
  const std::int64_t parts = (args.rows.num_rows + kMeanRows - 1) / kMeanRows;
  const std::int64_t head = blockIdx.x;
  const float* const partial = args.partial + head * parts * head_size + threadIdx.x;
  float total = 0.0F;
  for (std::int64_t part = 0; part < parts; ++part) total += partial[part * head_size];
  args.mean[head * head_size + threadIdx.x] = total / static_cast<float>(args.rows.num_rows);
}

// A block makes one group of a head. It stays in registers between the maximum and the rounding.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    quantise_heads_kernel(const __grid_constant__ QuantiseHeadsArgs args) {
  __shared__ float maxima[kWarpSize];
  const int head_size = static_cast<int>(args.rows.head_size);
  const int groups = static_cast<int>((args.rows.num_rows + args.group_rows - 1) / args.group_rows);
  const int head = static_cast<int>(blockIdx.x) / groups;
  const std::int64_t first = std::int64_t{static_cast<int>(blockIdx.x) % groups} * args.group_rows;
  const std::int64_t left = args.rows.num_rows - first;
  const int rows = left < args.group_rows ? static_cast<int>(left) : args.group_rows;
  const int row_chunks = head_size / kWidth;
  const int chunks = rows * row_chunks;
  float values[kItems][kWidth] = {};
  float largest = 0.0F;
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int chunk = item * kThreads + static_cast<int>(threadIdx.x);
    if (chunk >= chunks) continue;
    const int column = chunk % row_chunks * kWidth;
    const Chunk<T, kWidth> source =
        load_part<T>(args.rows, head, first + chunk / row_chunks, column);
    Chunk<float, kWidth> mean{};
    if (args.mean) mean = load_chunk<kWidth>(args.mean + head * head_size + column);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      values[item][i] = to_float(source.at[i]) - mean.at[i];
      largest = larger(largest, fabsf(values[item][i]));
    }
  }
  const float scale = block_max(largest, maxima) / kLargest + kSmallestScale;
  if (threadIdx.x == 0) args.scale[blockIdx.x] = scale * args.factor;
  const float inverse = 1.0F / scale;
  std::int8_t* const out = args.out + (head * args.rows.num_rows + first) * head_size;
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int chunk = item * kThreads + static_cast<int>(threadIdx.x);
    if (chunk >= chunks) continue;
    Chunk<std::int8_t, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float level = fminf(fmaxf(rintf(values[item][i] * inverse), -kLargest), kLargest);
      result.at[i] = static_cast<std::int8_t>(static_cast<int>(level));
    }
    store_chunk(out + chunk * kWidth, result);
  }
}

bool valid_rows(const HeadRows& rows) noexcept {
  return rows.x && (rows.dtype == DType::kBFloat16 || rows.dtype == DType::kFloat16) &&
         (rows.head_size == 64 || rows.head_size == 128) && rows.num_heads >= 1 &&
         rows.num_rows >= 1 && rows.num_rows <= kMaxRows && rows.row_stride >= rows.head_size &&
         rows.row_stride <= kMaxRowStride && rows.head_stride >= 0 &&
         rows.head_stride <= kMaxStride;
}

bool aligned_rows(const HeadRows& rows) noexcept {
  return address_of(rows.x) % kAccessBytes == 0 && rows.row_stride % kWidth == 0 &&
         rows.head_stride % kWidth == 0;
}

// The number of blocks for so many rows each; 0 when the grid does not hold them.
std::int64_t blocks_for(const HeadRows& rows, int rows_per_block) noexcept {
  const std::int64_t parts = divide_up(rows.num_rows, rows_per_block);
  return rows.num_heads <= kMaxBlocks / parts ? rows.num_heads * parts : 0;
}

template <typename Args>
cudaError_t launch_by_type(void (*bf16)(Args), void (*fp16)(Args), std::int64_t blocks,
                           const Args& args, cudaStream_t stream) {
  return launch_blocks(args.rows.dtype == DType::kBFloat16 ? bf16 : fp16, blocks, kThreads, stream,
                       args);
}

}  // namespace

cudaError_t key_means(const KeyMeansArgs& args, cudaStream_t stream) noexcept {
  const std::int64_t blocks = valid_rows(args.rows) ? blocks_for(args.rows, kMeanRows) : 0;
  if (blocks == 0 || !args.partial || !args.mean) return cudaErrorInvalidValue;
  if (!aligned_rows(args.rows) || address_of(args.partial) % sizeof(float) != 0 ||
      address_of(args.mean) % sizeof(float) != 0)
    return cudaErrorMisalignedAddress;
  const cudaError_t status =
      launch_by_type(key_sums_kernel<__nv_bfloat16>, key_sums_kernel<__half>, blocks, args, stream);
  if (status != cudaSuccess) return status;
  return launch_blocks(key_means_kernel, args.rows.num_heads, static_cast<int>(args.rows.head_size),
                       stream, args);
}

cudaError_t quantise_heads(const QuantiseHeadsArgs& args, cudaStream_t stream) noexcept {
  const bool valid = valid_rows(args.rows) && args.group_rows >= 1 &&
                     args.group_rows <= kMaxGroupRows && args.out && args.scale &&
                     args.factor > 0.0F;
  const std::int64_t blocks = valid ? blocks_for(args.rows, args.group_rows) : 0;
  if (blocks == 0) return cudaErrorInvalidValue;
  if (!aligned_rows(args.rows) || address_of(args.out) % kAccessBytes != 0 ||
      address_of(args.mean) % kAccessBytes != 0 || address_of(args.scale) % sizeof(float) != 0)
    return cudaErrorMisalignedAddress;
  return launch_by_type(quantise_heads_kernel<__nv_bfloat16>, quantise_heads_kernel<__half>, blocks,
                        args, stream);
}

}  // namespace t2v::kernels
