// Flash attention: a block of warps holds 128 queries and walks the keys 64 at a time. The scores,
// the softmax and the sums stay in registers; keys and values come through a ring in shared memory.
#pragma once

#include "device/dtype.cuh"
#include "device/flash_rows.cuh"
#include "device/flash_tile.cuh"
#include "device/key_blocks.cuh"
#include "device/online_softmax.cuh"

namespace t2v::kernels {

// Where a tile of the ring starts in shared memory.
template <typename Shape>
struct Ring {
  SharedAddress queries;
  [[nodiscard]] __device__ SharedAddress keys(int stage) const {
    return queries + Shape::kQueryBytes + stage * Shape::kKeyBytes;
  }
  [[nodiscard]] __device__ SharedAddress values(int stage) const {
    return queries + Shape::kQueryBytes + Shape::kStages * Shape::kKeyBytes +
           stage * Shape::kValueBytes;
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

// Asks for the block's queries.
template <typename Shape>
__device__ void copy_queries(SharedAddress tile, const FlashAttentionArgs& args, int head,
                             int first_query) {
  const Rows<typename Shape::Key> q(args.q, head * args.q_head_stride, args.q_row_stride);
  copy_tile<Shape::kThreads, kQueryBlock, Shape::kKeyRowChunks, Shape::kKeyRowBytes>(
      tile, q.start + std::int64_t{first_query} * q.stride, q.stride,
      static_cast<int>(args.num_queries) - first_query);
}

// Asks for one block of keys, or of values, of a head. The address is made from the arguments each
// time: pointers held over the loop would cost registers that the sums need.
template <typename Shape>
__device__ void copy_keys(SharedAddress tile, const FlashAttentionArgs& args, int head,
                          const KeyRows& rows) {
  const Rows<typename Shape::Key> k(args.k, computed_anew(head) * args.k_head_stride,
                                    args.k_row_stride);
  copy_tile<Shape::kThreads, kKeyBlock, Shape::kKeyRowChunks, Shape::kKeyRowBytes>(
      tile, k.start + std::int64_t{rows.first} * k.stride, k.stride, rows.count);
}
template <typename Shape>
__device__ void copy_values(SharedAddress tile, const FlashAttentionArgs& args, int head,
                            const KeyRows& rows) {
  const Rows<typename Shape::T> v(args.v, computed_anew(head) * args.v_head_stride,
                                  args.v_row_stride);
  copy_tile<Shape::kThreads, kKeyBlock, Shape::kRowChunks, Shape::kRowBytes>(
      tile, v.start + std::int64_t{rows.first} * v.stride, v.stride, rows.count);
}

// What makes exponents of 2 of the scores of a warp's m-th 16 rows.
template <typename Shape, typename Key = typename Shape::Key>
class ScoreScale {
 public:
  __device__ ScoreScale(const FlashParams& params, int /*head*/, int /*first_row*/)
      : params_(params) {}
  __device__ void read(const KeyRows& /*rows*/) {}
  __device__ float operator()(int /*m*/) const { return params_.scale_log2; }

 private:
  const FlashParams& params_;
};

// int8: the scale of the queries' group times that of the block of keys, which read() asks for
// before it is needed.
template <typename Shape>
class ScoreScale<Shape, std::int8_t> {
 public:
  __device__ ScoreScale(const FlashInt8Params& params, int head, int first_row)
      : params_(params), head_(head) {
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
      // Rows behind the last query take any group's.
      const int group = min(first_row / kInt8QueryGroup + m, params.num_query_groups - 1);
      queries_[m] = params.q_scale[std::int64_t{head} * params.num_query_groups + group];
    }
  }
  __device__ void read(const KeyRows& rows) {
    keys_ = params_.k_scale[std::int64_t{head_} * params_.num_key_blocks + rows.first / kKeyBlock];
  }
  __device__ float operator()(int m) const { return queries_[m] * keys_; }

 private:
  const FlashInt8Params& params_;
  int head_;
  float queries_[Shape::kRowTiles];
  float keys_;
};

// Block number head * query blocks + query block: the blocks that run together share a head, whose
// keys and values then stay in the L2 cache.
template <typename Shape, typename Blocks>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocksPerMultiprocessor)
    flash_attention_kernel(const __grid_constant__ typename Shape::Params params) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
  // Its registers do not suffice there, and nobody needs it: the launcher refuses.
  if constexpr (Shape::kStages == 1) return;
#endif
  constexpr int kLastStage = Shape::kStages - 1;
  const FlashAttentionArgs& args = params.args;
  const int head = static_cast<int>(blockIdx.x) / params.num_query_blocks;
  const int query_block = static_cast<int>(blockIdx.x) % params.num_query_blocks;
  const int first_query = query_block * kQueryBlock;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;

  const Ring<Shape> ring{shared_address(dynamic_shared())};
  const Blocks blocks(params, head, query_block);

  copy_queries<Shape>(ring.queries, args, head, first_query);
  copy_keys<Shape>(ring.keys(0), args, head, blocks.at(0));
  if constexpr (Shape::kStages > 1) copy_values<Shape>(ring.values(0), args, head, blocks.at(0));
  commit_copies();

  const SharedAddress queries = lane_address<Shape::kKeyRowBytes>(
      ring.queries + warp * Shape::kWarpRows * Shape::kKeyRowBytes, quarter_rows_first(lane));
  typename Scores<Shape>::Held held;
  if constexpr (Shape::kHoldQueries) {
    wait_copies<0>();
    __syncthreads();
    Scores<Shape>::hold(held, queries);
  }
  OutFragments<Shape> out = {};
  OnlineSoftmax<Shape> softmax;
  softmax.reset();
  ScoreScale<Shape> scale(params, head, first_query + warp * Shape::kWarpRows);

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

    scale.read(blocks.at(j));
    typename Scores<Shape>::Fragments scores;
    Scores<Shape>::multiply(
        scores, held, queries,
        lane_address<Shape::kKeyRowBytes>(ring.keys(stage), quarter_columns_first(lane)));
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
    if (softmax.update(scores, weights, factors, scale)) scale_rows<Shape>(out, factors);
    add_weighted_values<Shape>(
        out, weights, lane_address<Shape::kRowBytes>(ring.values(stage), quarter_rows_first(lane)));
  }
  const int first_row = first_query + warp * Shape::kWarpRows;
  normalise_rows<Shape>(out, softmax, args, head, first_row);
  write_rows<Shape>(out, args, head, first_row);
}

}  // namespace t2v::kernels
