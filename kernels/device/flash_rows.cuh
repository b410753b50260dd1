// A warp's rows of flash attention: edits of its scores, its sums of weighted values, and the way
// out to memory.
#pragma once

#include <cmath>

#include "device/key_blocks.cuh"
#include "device/online_softmax.cuh"

namespace t2v::kernels {

constexpr float kLn2 = 0.6931471805599453F;

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

// The warp's rows: through its own part of a tile (which nobody else reads any more), so that each
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

// Divides by the sums. lse, where asked for, is the log of the whole sums, [heads, queries].
template <typename Shape>
__device__ void normalise_rows(OutFragments<Shape>& out, OnlineSoftmax<Shape>& softmax,
                               const FlashAttentionArgs& args, int head, int first_row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
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
}

// Writes the warp's rows from `first_row` on. All threads of the block come.
template <typename Shape>
__device__ void write_rows(const OutFragments<Shape>& out, const FlashAttentionArgs& args, int head,
                           int first_row) {
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * Shape::kWarpRows;
  const std::int64_t offset = head * args.out_head_stride + first_row * args.out_row_stride;
  if constexpr (Shape::kOutIsLonger) __syncthreads();  // others may still read their keys
  store_rows<Shape>(out, dynamic_shared() + warp_row * Shape::kRowBytes,
                    static_cast<typename Shape::T*>(args.out) + offset, args.out_row_stride,
                    static_cast<int>(args.num_queries) - first_row);
}

}  // namespace t2v::kernels
