// Tiles of flash attention: copies into swizzled shared memory, and the two products of a tile on
// a warp's fragments. The layout is in mma_layout.h.
#pragma once

#include "device/flash_params.cuh"
#include "device/mma.cuh"
#include "t2v/kernels/mma_layout.h"

namespace t2v::kernels {

// Asks for kRows rows of kRowChunks chunks of 16 bytes, by all threads of the block; rows from
// `valid` on (at least 1) become zeros.
template <int kThreads, int kRows, int kRowChunks, int kRowBytes, typename Element>
__device__ inline void copy_tile(SharedAddress tile, const Element* rows, int row_stride,
                                 int valid) {
  constexpr int kRowsPerPass = kThreads / kRowChunks;
  static_assert(kRows % kRowsPerPass == 0 && kRowsPerPass % 8 == 0);
  const int chunk = static_cast<int>(threadIdx.x) % kRowChunks;
  const int first = static_cast<int>(threadIdx.x) / kRowChunks;
  const SharedAddress target = tile + tile_offset(first, chunk, kRowBytes);
  const auto* const source =
      rows + std::int64_t{first} * row_stride + chunk * full_width(sizeof(Element));
  const std::int64_t pass_stride = std::int64_t{kRowsPerPass} * row_stride;
#pragma unroll
  for (int pass = 0; pass < kRows / kRowsPerPass; ++pass) {
    // The address of a row that does not exist is formed, but not read.
    copy_async(target + pass * kRowsPerPass * kRowBytes, source + pass * pass_stride,
               first + pass * kRowsPerPass < valid);
  }
}

// A lane's address of its row in the first quarter tile: 16 rows x 32 bytes, columns counted in two
// bytes. Further columns: ^ 32 per 32 bytes (the swizzle is an exclusive or, so it commutes);
// further rows: + kRowBytes each, 8 by 8.
template <int kRowBytes>
__device__ inline SharedAddress lane_address(SharedAddress tile, const MatrixPlace& at) {
  return tile + tile_offset(at.row, at.column / 8, kRowBytes);
}

constexpr int kStepBytes = 32;  // 16 channels of 16 bits, or 32 of int8

// Fragments of this warp's queries for one step of kStepBytes.
template <typename Shape>
__device__ inline void load_queries(std::uint32_t (&a)[Shape::kRowTiles][4], SharedAddress queries,
                                    int step) {
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
    load_matrices(a[m], (queries ^ (step * kStepBytes)) + m * 16 * Shape::kKeyRowBytes);
  }
}

// Sums of a score tile. int8: the sum starts at the bits of 1.5 * 2^23, one unit of whose last
// place is 1, so that with at most 2^22 above or below its bits are those of 1.5 * 2^23 + sum.
constexpr float kWholeOrigin = 12582912.0F;
constexpr std::int32_t kWholeOriginBits = 0x4B400000;

template <typename Key>
struct ScoreSum {
  using type = float;
  static constexpr float kStart = 0.0F;
};
template <>
struct ScoreSum<std::int8_t> {
  using type = std::int32_t;
  static constexpr std::int32_t kStart = kWholeOriginBits;
};

__device__ inline void multiply_add(std::int32_t (&d)[4], const std::uint32_t (&a)[4],
                                    std::uint32_t b0, std::uint32_t b1, std::int8_t /*type*/) {
  multiply_add(d, a, b0, b1);
}

// Scores of queries and keys of one type. int8 scores are whole numbers, at most 128 * 127^2.
template <typename Shape>
struct Scores {
  using Key = typename Shape::Key;
  using Fragments = float[Shape::kRowTiles][Shape::kScoreTiles][4];
  using Sum = typename ScoreSum<Key>::type;
  using Sums = Sum[Shape::kRowTiles][Shape::kScoreTiles][4];
  static constexpr int kSteps = Shape::kKeyRowData / kStepBytes;
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
    if constexpr (sizeof(Key) == 1) {
      Sums sums;
      sum_up(sums, held, queries, keys);
#pragma unroll
      for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
        for (int n = 0; n < Shape::kScoreTiles; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i)
            scores[m][n][i] = __int_as_float(sums[m][n][i]) - kWholeOrigin;
        }
      }
    } else {
      sum_up(scores, held, queries, keys);
    }
  }

 private:
  __device__ static void sum_up(Sums& sums, Held& held, SharedAddress queries, SharedAddress keys) {
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Shape::kScoreTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] = ScoreSum<Key>::kStart;
      }
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int held_step = Shape::kHoldQueries ? step : 0;
      if constexpr (!Shape::kHoldQueries) load_queries<Shape>(held[0], queries, step);
#pragma unroll
      for (int n = 0; n < Shape::kScoreTiles; n += 2) {
        std::uint32_t b[4];
        load_matrices(b, (keys ^ (step * kStepBytes)) + n * 8 * Shape::kKeyRowBytes);
#pragma unroll
        for (int m = 0; m < Shape::kRowTiles; ++m) {
          multiply_add(sums[m][n], held[held_step][m], b[0], b[1], Key{});
          multiply_add(sums[m][n + 1], held[held_step][m], b[2], b[3], Key{});
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
