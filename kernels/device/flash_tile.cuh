// Tiles of flash attention: copies into swizzled shared memory, and the two products of a tile on
// a warp's fragments. The layout is in mma_layout.h.
#pragma once

#include "device/flash_params.cuh"
#include "device/mma.cuh"
#include "t2v/kernels/mma_layout.h"

namespace t2v::kernels {

// Asks for kRows rows of a tile; rows from `valid` on (at least 1) become zeros.
template <typename Shape, int kRows>
__device__ inline void copy_tile(SharedAddress tile, const typename Shape::T* rows, int row_stride,
                                 int valid) {
  constexpr int kRowsPerPass = Shape::kThreads / Shape::kRowChunks;
  static_assert(kRows % kRowsPerPass == 0 && kRowsPerPass % 8 == 0);
  const int chunk = static_cast<int>(threadIdx.x) % Shape::kRowChunks;
  const int first = static_cast<int>(threadIdx.x) / Shape::kRowChunks;
  const SharedAddress target = tile + tile_offset(first, chunk, Shape::kRowBytes);
  const auto* const source =
      rows + std::int64_t{first} * row_stride + chunk * full_width(sizeof(typename Shape::T));
  const std::int64_t pass_stride = std::int64_t{kRowsPerPass} * row_stride;
#pragma unroll
  for (int pass = 0; pass < kRows / kRowsPerPass; ++pass) {
    // The address of a row that does not exist is formed, but not read.
    copy_async(target + pass * kRowsPerPass * Shape::kRowBytes, source + pass * pass_stride,
               first + pass * kRowsPerPass < valid);
  }
}

// A lane's address of its row in the first 16 x 16 quarter tile. Further columns: ^ 32 per 16
// channels (the swizzle is an exclusive or, so it commutes); further rows: + row_bytes each, 8
// by 8.
template <typename Shape>
__device__ inline SharedAddress lane_address(SharedAddress tile, const MatrixPlace& at) {
  return tile + tile_offset(at.row, at.column / 8, Shape::kRowBytes);
}

constexpr int kStepBytes = 32;  // 16 channels

// Fragments of this warp's queries for one step of 16 channels.
template <typename Shape>
__device__ inline void load_queries(std::uint32_t (&a)[Shape::kRowTiles][4], SharedAddress queries,
                                    int step) {
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
    load_matrices(a[m], (queries ^ (step * kStepBytes)) + m * 16 * Shape::kRowBytes);
  }
}

// Scores of 16-bit queries and keys. The seam for other precisions: an int8 policy has its own
// fragments, key tile and scale, and hands out the same fp32 fragments.
template <typename Shape>
struct Scores {
  using Fragments = float[Shape::kRowTiles][Shape::kScoreTiles][4];
  static constexpr int kSteps = Shape::kHeadSize / 16;
  static constexpr int kHeldSteps = Shape::kHoldQueries ? kSteps : 1;
  using Held = std::uint32_t[kHeldSteps][Shape::kRowTiles][4];

  // After the queries have arrived.
  __device__ static void hold(Held& held, SharedAddress queries) {
    if constexpr (Shape::kHoldQueries) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) load_queries<Shape>(held[step], queries, step);
    }
  }

  // scores = q * k^T for the warp's rows and the tile's 64 keys. Addresses are lane_address()es.
  __device__ static void multiply(Fragments& scores, Held& held, SharedAddress queries,
                                  SharedAddress keys) {
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Shape::kScoreTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[m][n][i] = 0.0F;
      }
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int held_step = Shape::kHoldQueries ? step : 0;
      if constexpr (!Shape::kHoldQueries) load_queries<Shape>(held[0], queries, step);
#pragma unroll
      for (int n = 0; n < Shape::kScoreTiles; n += 2) {
        std::uint32_t b[4];
        load_matrices(b, (keys ^ (step * kStepBytes)) + n * 8 * Shape::kRowBytes);
#pragma unroll
        for (int m = 0; m < Shape::kRowTiles; ++m) {
          multiply_add(scores[m][n], held[held_step][m], b[0], b[1], typename Shape::T{});
          multiply_add(scores[m][n + 1], held[held_step][m], b[2], b[3], typename Shape::T{});
        }
      }
    }
  }
};

// The weights of a tile, rounded to T, two neighbouring keys per register: as fragment C, which for
// two neighbouring tiles of 8 columns is fragment A of one step of 16.
template <typename Shape>
using Weights = std::uint32_t[Shape::kRowTiles][Shape::kScoreTiles][2];

// out += p * v.
template <typename Shape>
__device__ inline void add_weighted_values(float (&out)[Shape::kRowTiles][Shape::kOutTiles][4],
                                           const Weights<Shape>& p, SharedAddress values) {
  constexpr typename Shape::T kType{};
#pragma unroll
  for (int step = 0; step < kKeyBlock / 16; ++step) {
#pragma unroll
    for (int n = 0; n < Shape::kOutTiles; n += 2) {
      std::uint32_t b[4];
      load_matrices_transposed(b, (values ^ (n / 2 * kStepBytes)) + step * 16 * Shape::kRowBytes);
#pragma unroll
      for (int m = 0; m < Shape::kRowTiles; ++m) {
        const std::uint32_t a[4] = {p[m][2 * step][0], p[m][2 * step][1], p[m][2 * step + 1][0],
                                    p[m][2 * step + 1][1]};
        multiply_add(out[m][n], a, b[0], b[1], kType);
        multiply_add(out[m][n + 1], a, b[2], b[3], kType);
      }
    }
  }
}

}  // namespace t2v::kernels
