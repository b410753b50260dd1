// Flash attention: a block of warps holds 128 queries and walks the keys 64 at a time. The scores,
// the softmax and the sums stay in registers; keys and values come through a ring in shared memory.
#include <cmath>

#include "device/dtype.cuh"
#include "device/flash_tile.cuh"
#include "device/key_blocks.cuh"
#include "device/online_softmax.cuh"
#include "t2v/kernels/flash_attention.h"

namespace t2v::kernels {
namespace {

constexpr std::int64_t kMaxRows = (std::int64_t{1} << 31) - 4 * kQueryBlock;
constexpr std::int64_t kMaxHeads = 65535;
// rows * row stride + heads * head stride stays below 2^62 elements.
constexpr std::int64_t kMaxRow = std::int64_t{1} << 29;
constexpr std::int64_t kMaxHead = std::int64_t{1} << 44;
constexpr double kLog2E = 1.4426950408889634;
constexpr float kLn2 = 0.6931471805599453F;

// Where a tile of the ring starts in shared memory.
template <typename Shape>
struct Ring {
  SharedAddress queries;
  [[nodiscard]] __device__ SharedAddress keys(int stage) const {
    return queries + Shape::kQueryBytes + stage * Shape::kKeyBytes;
  }
  [[nodiscard]] __device__ SharedAddress values(int stage) const {
    return keys(Shape::kStages + stage);
  }
};

// One head's rows of an operand in global memory.
template <typename T>
struct Rows {
  const T* start;
  int stride;  // at most kMaxRow
  __device__ Rows(const void* base, std::int64_t head_offset, std::int64_t row_stride)
      : start(static_cast<const T*>(base) + head_offset), stride(static_cast<int>(row_stride)) {}
};

// Asks for one block of keys, or of values, of a head. The address is made from the arguments each
// time: pointers held over the loop would cost registers that the sums need.
template <typename Shape>
__device__ void copy_keys(SharedAddress tile, const FlashAttentionArgs& args, int head,
                          const KeyRows& rows) {
  const Rows<typename Shape::T> k(args.k, computed_anew(head) * args.k_head_stride,
                                  args.k_row_stride);
  copy_tile<Shape, kKeyBlock>(tile, k.start + std::int64_t{rows.first} * k.stride, k.stride,
                              rows.count);
}
template <typename Shape>
__device__ void copy_values(SharedAddress tile, const FlashAttentionArgs& args, int head,
                            const KeyRows& rows) {
  const Rows<typename Shape::T> v(args.v, computed_anew(head) * args.v_head_stride,
                                  args.v_row_stride);
  copy_tile<Shape, kKeyBlock>(tile, v.start + std::int64_t{rows.first} * v.stride, v.stride,
                              rows.count);
}

// Adds the bias, and hides the keys behind the last row. The bias is divided by the scale first, so
// that biased and plain scores go on alike.
template <typename Shape>
__device__ void edit_scores(typename Scores<Shape>::Fragments& scores, const FlashParams& params,
                            const KeyRows& rows) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const float* const bias =
      params.args.key_bias ? params.args.key_bias + rows.first : params.args.key_bias;
#pragma unroll
  for (int n = 0; n < Shape::kScoreTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int key = n * 8 + place_in_c(lane, i).column;
      const bool exists = key < rows.count;
      const float added = bias && exists ? bias[key] * params.inverse_scale : 0.0F;
#pragma unroll
      for (int m = 0; m < Shape::kRowTiles; ++m) {
        scores[m][n][i] = exists ? scores[m][n][i] + added : -INFINITY;
        scores[m][n][i + 2] = exists ? scores[m][n][i + 2] + added : -INFINITY;
      }
    }
  }
}

template <typename Shape>
using OutFragments = float[Shape::kRowTiles][Shape::kOutTiles][4];

template <typename Shape>
__device__ void scale_rows(OutFragments<Shape>& out, const float (&factors)[Shape::kRowTiles][2]) {
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
    for (int n = 0; n < Shape::kOutTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[m][n][i] *= factors[m][i / 2];
    }
  }
}

// The warp's rows: through its own part of the query tile (which nobody else reads), so that each
// row leaves in accesses of 16 bytes.
template <typename Shape>
__device__ void store_rows(const OutFragments<Shape>& out, unsigned char* tile, void* base,
                           std::int64_t row_stride, int valid) {
  using T = typename Shape::T;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
    for (int n = 0; n < Shape::kOutTiles; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const MatrixPlace at = place_in_c(lane, 2 * half);
        unsigned char* const to = tile + tile_offset(m * 16 + at.row, n, Shape::kRowBytes);
        *reinterpret_cast<std::uint32_t*>(to + at.column * 2) =
            pack(out[m][n][2 * half], out[m][n][2 * half + 1], T{});
      }
    }
  }
  __syncwarp();
  constexpr int kRowsPerPass = kWarpSize / Shape::kRowChunks;
  const int chunk = lane % Shape::kRowChunks;
#pragma unroll
  for (int pass = 0; pass < Shape::kWarpRows / kRowsPerPass; ++pass) {
    const int row = pass * kRowsPerPass + lane / Shape::kRowChunks;
    if (row >= valid) continue;
    T* const to = static_cast<T*>(base) + row * row_stride + chunk * full_width(sizeof(T));
    *reinterpret_cast<uint4*>(to) =
        *reinterpret_cast<const uint4*>(tile + tile_offset(row, chunk, Shape::kRowBytes));
  }
}

// Divides by the sums and writes the warp's rows from `first_row` on.
template <typename Shape>
__device__ void finish_rows(OutFragments<Shape>& out, OnlineSoftmax<Shape>& softmax,
                            const FlashParams& params, int head, int first_row) {
  const FlashAttentionArgs& args = params.args;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * Shape::kWarpRows;
  const int num_queries = static_cast<int>(args.num_queries);
  softmax.finish();
  float inverse[Shape::kRowTiles][2];
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = softmax.sum[m][half];
      inverse[m][half] = sum == 0.0F ? 0.0F : 1.0F / sum;  // NaN stays NaN
      const int row = first_row + m * 16 + place_in_c(lane, 2 * half).row;
      if (args.lse && lane % 4 == 0 && row < num_queries) {
        args.lse[std::int64_t{head} * num_queries + row] = softmax.max[m][half] * kLn2 + logf(sum);
      }
    }
  }
  scale_rows<Shape>(out, inverse);
  const std::int64_t offset = head * args.out_head_stride + first_row * args.out_row_stride;
  store_rows<Shape>(out, dynamic_shared() + warp_row * Shape::kRowBytes,
                    static_cast<typename Shape::T*>(args.out) + offset, args.out_row_stride,
                    num_queries - first_row);
}

// Block number head * query blocks + query block: the blocks that run together share a head, whose
// keys and values then stay in the L2 cache.
template <typename Shape, typename Blocks>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocksPerMultiprocessor)
    flash_attention_kernel(const __grid_constant__ FlashParams params) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
  // Its registers do not suffice there, and nobody needs it: the launcher refuses.
  if constexpr (Shape::kStages == 1) return;
#endif
  using T = typename Shape::T;
  constexpr int kLastStage = Shape::kStages - 1;
  const FlashAttentionArgs& args = params.args;
  const int head = static_cast<int>(blockIdx.x) / params.num_query_blocks;
  const int query_block = static_cast<int>(blockIdx.x) % params.num_query_blocks;
  const int first_query = query_block * kQueryBlock;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;

  const Ring<Shape> ring{shared_address(dynamic_shared())};
  const Rows<T> q(args.q, head * args.q_head_stride, args.q_row_stride);
  const Blocks blocks(params, head, query_block);

  copy_tile<Shape, kQueryBlock>(ring.queries, q.start + std::int64_t{first_query} * q.stride,
                                q.stride, static_cast<int>(args.num_queries) - first_query);
  copy_keys<Shape>(ring.keys(0), args, head, blocks.at(0));
  if constexpr (Shape::kStages > 1) copy_values<Shape>(ring.values(0), args, head, blocks.at(0));
  commit_copies();

  const SharedAddress queries = lane_address<Shape>(
      ring.queries + warp * Shape::kWarpRows * Shape::kRowBytes, quarter_rows_first(lane));
  typename Scores<Shape>::Held held;
  if constexpr (Shape::kHoldQueries) {
    wait_copies<0>();
    __syncthreads();
    Scores<Shape>::hold(held, queries);
  }
  OutFragments<Shape> out = {};
  OnlineSoftmax<Shape> softmax;
  softmax.reset();

  const int num_blocks = blocks.count();
  for (int j = 0; j < num_blocks; ++j) {
    const int stage = j & kLastStage;
    // Behind the barrier: this block's keys are there, and all warps have left the block before.
    wait_copies<0>();
    __syncthreads();
    if constexpr (Shape::kStages > 1) {
      if (j + 1 < num_blocks) {
        const KeyRows ahead = blocks.at(j + 1);
        copy_keys<Shape>(ring.keys(stage ^ 1), args, head, ahead);
        copy_values<Shape>(ring.values(stage ^ 1), args, head, ahead);
      }
    } else {
      copy_values<Shape>(ring.values(0), args, head, blocks.at(j));
    }
    commit_copies();

    typename Scores<Shape>::Fragments scores;
    Scores<Shape>::multiply(scores, held, queries,
                            lane_address<Shape>(ring.keys(stage), quarter_columns_first(lane)));
    if constexpr (Shape::kStages == 1) {
      wait_copies<0>();  // the values
      __syncthreads();   // and nobody needs these keys any more
      if (j + 1 < num_blocks) copy_keys<Shape>(ring.keys(0), args, head, blocks.at(j + 1));
      commit_copies();
    }
    const KeyRows rows = blocks.at(j);
    if (args.key_bias || rows.count < kKeyBlock) edit_scores<Shape>(scores, params, rows);
    float factors[Shape::kRowTiles][2];
    Weights<Shape> weights;
    if (softmax.update(scores, weights, factors, params.scale_log2))
      scale_rows<Shape>(out, factors);
    add_weighted_values<Shape>(out, weights,
                               lane_address<Shape>(ring.values(stage), quarter_rows_first(lane)));
  }
  finish_rows<Shape>(out, softmax, params, head, first_query + warp * Shape::kWarpRows);
}

struct Operand {
  const void* pointer;
  std::int64_t head_stride;
  std::int64_t row_stride;
};

bool valid_operand(const Operand& x, std::int64_t head_size) noexcept {
  return x.pointer && x.row_stride >= head_size && x.row_stride <= kMaxRow && x.head_stride >= 0 &&
         x.head_stride <= kMaxHead;
}

bool aligned_operand(const Operand& x) noexcept {
  return address_of(x.pointer) % kAccessBytes == 0 && x.row_stride % 8 == 0 &&
         x.head_stride % 8 == 0;
}

bool valid_sizes(const FlashAttentionArgs& args) noexcept {
  const std::int64_t blocks = divide_up(args.num_queries, kQueryBlock);
  return args.num_heads >= 1 && args.num_heads <= kMaxHeads && args.num_queries >= 0 &&
         args.num_queries <= kMaxRows && args.num_keys >= 1 && args.num_keys <= kMaxRows &&
         blocks * args.num_heads <= kMaxBlocks && args.scale > 0.0F && std::isfinite(args.scale) &&
         std::isfinite(1.0F / args.scale);
}

bool valid_lists(const FlashAttentionArgs& args) noexcept {
  const KeyBlockList& list = args.list;
  const KeyBlockTable& table = args.table;
  if ((list.lut == nullptr) != (list.counts == nullptr)) return false;
  if (list.lut && (list.max_blocks < 1 || list.max_blocks > kMaxBlocks ||
                   (list.scope != ListScope::kPerHead && list.scope != ListScope::kSharedByHeads)))
    return false;
  if ((table.first_row == nullptr) != (table.num_rows == nullptr)) return false;
  return !table.first_row || (table.num_blocks >= 1 && table.num_blocks <= kMaxBlocks);
}

template <typename Shape, typename Blocks>
cudaError_t launch(const FlashParams& params, cudaStream_t stream) {
  void (*const kernel)(FlashParams) = flash_attention_kernel<Shape, Blocks>;
  const cudaError_t status =
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                           cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes);
  if (status != cudaSuccess) return status;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(params.num_query_blocks * params.args.num_heads));
  config.blockDim = dim3(Shape::kThreads);
  config.dynamicSmemBytes = Shape::kSharedBytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, params);
}

template <typename Shape>
cudaError_t launch_blocks(const FlashParams& params, cudaStream_t stream) {
  const bool listed = params.args.list.lut || params.args.table.first_row;
  return listed ? launch<Shape, ListedBlocks>(params, stream)
                : launch<Shape, DenseBlocks>(params, stream);
}

// The variant whose two blocks (each with 1 KiB of the system's) fit one multiprocessor.
cudaError_t choose_variant(FlashVariant& variant) noexcept {
  constexpr int kKiB = 1024;
  int device = 0;
  int bytes = 0;
  cudaError_t status = cudaGetDevice(&device);
  if (status != cudaSuccess) return status;
  status = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
  if (status != cudaSuccess) return status;
  variant = bytes >= 2 * 97 * kKiB   ? FlashVariant::kFourWarpsTwoStages
            : bytes >= 2 * 65 * kKiB ? FlashVariant::kFourWarpsOneStage
                                     : FlashVariant::kEightWarpsTwoStages;
  return cudaSuccess;
}

// See the kernel's first lines.
bool runs_one_stage() noexcept {
  int device = 0;
  int major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major < 12;
}

template <typename T>
cudaError_t launch_variant(const FlashParams& params, cudaStream_t stream) {
  FlashVariant variant = params.args.variant;
  if (params.args.head_size == 64) {
    if (variant != FlashVariant::kAuto && variant != FlashVariant::kFourWarpsTwoStages)
      return cudaErrorInvalidValue;
    return launch_blocks<FlashShape<T, 64, 4, 2>>(params, stream);
  }
  if (variant == FlashVariant::kAuto) {
    const cudaError_t status = choose_variant(variant);
    if (status != cudaSuccess) return status;
  }
  switch (variant) {
    case FlashVariant::kFourWarpsOneStage:
      if (!runs_one_stage()) return cudaErrorNotSupported;
      return launch_blocks<FlashShape<T, 128, 4, 1>>(params, stream);
    case FlashVariant::kFourWarpsTwoStages:
      return launch_blocks<FlashShape<T, 128, 4, 2>>(params, stream);
    case FlashVariant::kEightWarpsTwoStages:
      return launch_blocks<FlashShape<T, 128, 8, 2>>(params, stream);
    case FlashVariant::kAuto:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t flash_attention(const FlashAttentionArgs& args, cudaStream_t stream) noexcept {
  const bool narrow = args.dtype == DType::kBFloat16 || args.dtype == DType::kFloat16;
  const bool fits = args.head_size == 64 || args.head_size == 128;
  if (!narrow || !fits || !valid_sizes(args) || !valid_lists(args)) return cudaErrorInvalidValue;
  if (args.num_queries == 0) return cudaSuccess;
  const Operand operands[] = {{args.q, args.q_head_stride, args.q_row_stride},
                              {args.k, args.k_head_stride, args.k_row_stride},
                              {args.v, args.v_head_stride, args.v_row_stride},
                              {args.out, args.out_head_stride, args.out_row_stride}};
  for (const Operand& operand : operands) {
    if (!valid_operand(operand, args.head_size)) return cudaErrorInvalidValue;
  }
  for (const Operand& operand : operands) {
    if (!aligned_operand(operand)) return cudaErrorMisalignedAddress;
  }
  const void* const words[] = {args.key_bias,        args.lse,
                               args.list.lut,        args.list.counts,
                               args.table.first_row, args.table.num_rows};
  for (const void* pointer : words) {
    if (address_of(pointer) % 4 != 0) return cudaErrorMisalignedAddress;
  }
  FlashParams params;
  params.args = args;
  params.scale_log2 = static_cast<float>(args.scale * kLog2E);
  params.inverse_scale = 1.0F / args.scale;
  params.num_query_blocks = static_cast<int>(divide_up(args.num_queries, kQueryBlock));
  params.num_key_blocks = static_cast<int>(
      args.table.first_row ? args.table.num_blocks : divide_up(args.num_keys, kKeyBlock));
  return args.dtype == DType::kBFloat16 ? launch_variant<__nv_bfloat16>(params, stream)
                                        : launch_variant<__half>(params, stream);
}

}  // namespace t2v::kernels
