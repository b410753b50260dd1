// One tile of an int8 matrix product: copies into a ring in shared memory, fragments, exact sums.
#pragma once

#include "device/mma.cuh"
#include "t2v/kernels/int8_linear.h"
#include "t2v/kernels/launch_shape.h"
#include "t2v/kernels/linear_tiles.h"
#include "t2v/kernels/mma_layout.h"

namespace t2v::kernels {

// What the kernel is launched with.
struct Int8LinearParams {
  Int8LinearArgs args;
  int tile_rows = 0;
  int tile_columns = 0;
};

// A block makes 128 x 256 sums, a warp 64 x 64 of them, in steps of 64 along the depth. Four
// stages are 96 KiB: as much as every supported architecture gives one block.
struct Int8Tile {
  static constexpr int kRows = 128;
  static constexpr int kColumns = 256;
  static constexpr int kWarpRows = 64;
  static constexpr int kWarpColumns = 64;
  static constexpr int kStages = 4;
  static constexpr int kThreads = kRows / kWarpRows * (kColumns / kWarpColumns) * kWarpSize;
  static constexpr int kRowTiles = kWarpRows / 16;
  static constexpr int kColumnTiles = kWarpColumns / 8;
  static constexpr int kSteps = kHalfLine / 32;  // products of depth 32
  static constexpr int kChunks = kHalfLine / kAccessBytes;
  static constexpr int kRowsPerPass = kThreads / kChunks;
  static constexpr int kStageBytes = (kRows + kColumns) * kHalfLine;
  static constexpr int kSharedBytes = kStages * kStageBytes;

  using Sums = std::int32_t[kRowTiles][kColumnTiles][4];
  struct Fragments {
    std::uint32_t a[kRowTiles][4];
    std::uint32_t b[kColumnTiles / 2][4];
  };
  static_assert(kRows % kRowsPerPass == 0 && kColumns % kRowsPerPass == 0);
};

// A thread's share of the copies of one operand: the same chunk of every kRowsPerPass-th row.
class OperandCopies {
 public:
  // `first` is the tile's first row, `rows` the operand's number of rows.
  __device__ OperandCopies(const std::int8_t* base, std::int64_t stride, int first,
                           std::int64_t rows)
      : pass_stride_(static_cast<int>(stride) * Int8Tile::kRowsPerPass),
        valid_(static_cast<int>(rows) - first - thread_row()) {
    source_ = base + (std::int64_t{first} + thread_row()) * stride + thread_chunk() * kAccessBytes;
  }

  __device__ static int thread_row() { return static_cast<int>(threadIdx.x) / Int8Tile::kChunks; }
  __device__ static int thread_chunk() { return static_cast<int>(threadIdx.x) % Int8Tile::kChunks; }

  // Asks for kTileRows rows, from `depth` on; zeros where the operand has no value.
  template <int kOperandRows>
  __device__ void ask(SharedAddress target, int depth, bool inside) const {
#pragma unroll
    for (int pass = 0; pass < kOperandRows / Int8Tile::kRowsPerPass; ++pass) {
      // The address of a row that does not exist is formed, but not read.
      copy_async(target + pass * Int8Tile::kRowsPerPass * kHalfLine,
                 source_ + std::int64_t{pass} * pass_stride_ + depth,
                 inside && pass * Int8Tile::kRowsPerPass < valid_);
    }
  }

 private:
  const std::int8_t* source_;
  int pass_stride_;  // at most 2^30
  int valid_;        // rows from this thread's first one on; 0 or less: none
};

// The ring of stages; a stage holds the tile's rows of x, then those of the weight.
class TileCopies {
 public:
  __device__ TileCopies(const Int8LinearArgs& args, const TileAt& at, SharedAddress ring)
      : x_(args.x, args.x_row_stride, at.row * Int8Tile::kRows, args.rows),
        weight_(args.weight, args.weight_row_stride, at.column * Int8Tile::kColumns, args.columns),
        target_(ring +
                half_line_offset(OperandCopies::thread_row(), OperandCopies::thread_chunk())),
        depth_(static_cast<int>(args.depth)) {}

  // Asks for step number `step` of the depth and closes the group, which is empty past the end.
  __device__ void ask(int step, int stage) const {
    const int depth = step * kHalfLine;
    if (depth < depth_) {
      const bool inside = depth + OperandCopies::thread_chunk() * kAccessBytes < depth_;
      const SharedAddress target = target_ + stage * Int8Tile::kStageBytes;
      x_.ask<Int8Tile::kRows>(target, depth, inside);
      weight_.ask<Int8Tile::kColumns>(target + Int8Tile::kRows * kHalfLine, depth, inside);
    }
    commit_copies();
  }

 private:
  OperandCopies x_;
  OperandCopies weight_;
  SharedAddress target_;
  int depth_;
};

// A lane's addresses of its first matrices in stage 0. Further steps: ^ 32 bytes each (the swizzle
// is an exclusive or, so it commutes); further rows: + kHalfLine each, 8 by 8.
struct WarpAddresses {
  SharedAddress a;
  SharedAddress b;

  __device__ explicit WarpAddresses(SharedAddress ring) {
    constexpr int kWarpsPerRow = Int8Tile::kColumns / Int8Tile::kWarpColumns;
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    const MatrixPlace in_a = quarter_rows_first(lane);
    const MatrixPlace in_b = quarter_columns_first(lane);
    const int row = warp / kWarpsPerRow * Int8Tile::kWarpRows + in_a.row;
    const int column = warp % kWarpsPerRow * Int8Tile::kWarpColumns + in_b.row;
    a = ring + half_line_offset(row, in_a.column / 8);
    b = ring + Int8Tile::kRows * kHalfLine + half_line_offset(column, in_b.column / 8);
  }

  __device__ void load(Int8Tile::Fragments& to, int stage, int step) const {
    const SharedAddress a_step = (a + stage * Int8Tile::kStageBytes) ^ (step * 32);
    const SharedAddress b_step = (b + stage * Int8Tile::kStageBytes) ^ (step * 32);
#pragma unroll
    for (int m = 0; m < Int8Tile::kRowTiles; ++m)
      load_matrices(to.a[m], a_step + m * 16 * kHalfLine);
#pragma unroll
    for (int n = 0; n < Int8Tile::kColumnTiles / 2; ++n)
      load_matrices(to.b[n], b_step + n * 16 * kHalfLine);
  }
};

__device__ inline void add_products(Int8Tile::Sums& sums, const Int8Tile::Fragments& by) {
#pragma unroll
  for (int m = 0; m < Int8Tile::kRowTiles; ++m) {
#pragma unroll
    for (int n = 0; n < Int8Tile::kColumnTiles; ++n)
      multiply_add(sums[m][n], by.a[m], by.b[n / 2][n % 2 * 2], by.b[n / 2][n % 2 * 2 + 1]);
  }
}

// The warp's sums over the whole depth. Fragments are loaded one step ahead of their products, and
// copies are asked for kStages - 1 steps ahead.
__device__ inline void multiply_tile(Int8Tile::Sums& sums, const Int8LinearArgs& args,
                                     const TileAt& at) {
  constexpr int kStages = Int8Tile::kStages;
  const SharedAddress ring = shared_address(dynamic_shared());
  const TileCopies copies(args, at, ring);
  const WarpAddresses addresses(ring);
  const int num_steps = (static_cast<int>(args.depth) + kHalfLine - 1) / kHalfLine;
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) copies.ask(stage, stage);
  wait_copies<kStages - 2>();
  __syncthreads();
  Int8Tile::Fragments fragments[2];
  addresses.load(fragments[0], 0, 0);
  int stage = 0;
  for (int step = 0; step < num_steps; ++step) {
    addresses.load(fragments[1], stage, 1);
    // Into the stage before this one: all warps have read it before the last barrier.
    copies.ask(step + kStages - 1, stage == 0 ? kStages - 1 : stage - 1);
    add_products(sums, fragments[0]);
    stage = stage == kStages - 1 ? 0 : stage + 1;
    wait_copies<kStages - 2>();
    __syncthreads();
    // After the last step: something old, for which there is no product.
    addresses.load(fragments[0], stage, 0);
    add_products(sums, fragments[1]);
  }
  static_assert(Int8Tile::kSteps == 2);
}

}  // namespace t2v::kernels
