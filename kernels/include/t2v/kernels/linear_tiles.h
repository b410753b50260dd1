// Which tile of a product a block makes, and where the bytes of its operands lie in shared memory.
// Plain integers, tested on the host.
#pragma once

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

struct TileAt {
  int row;
  int column;
};

// Blocks with neighbouring numbers make tiles of the same few rows: kTileRows rows of tiles are
// gone through column by column. What runs at one time then reads about as much of x as of the
// weight, little enough for the L2 cache.
constexpr int kTileRows = 16;

// `block` < tile_rows * tile_columns < 2^31.
T2V_HOST_DEVICE constexpr TileAt place_of_tile(int block, int tile_rows, int tile_columns) {
  // 64 bits: a group of rows may hold more tiles than an int.
  const std::int64_t per_group = std::int64_t{kTileRows} * tile_columns;
  const int first = static_cast<int>(block / per_group) * kTileRows;
  const int left = tile_rows - first;
  const int height = left < kTileRows ? left : kTileRows;
  const int in_group = static_cast<int>(block % per_group);
  return {first + in_group % height, in_group / height};
}

// Rows of 64 bytes, two to the 128 bytes that all banks hold: chunk c (16 bytes) of row r goes to
// place c ^ (r / 2 % 4). The eight rows that a matrix load touches then lie in different banks.
constexpr int kHalfLine = 64;
T2V_HOST_DEVICE constexpr int half_line_offset(int row, int chunk) {
  return row * kHalfLine + 16 * (chunk ^ (row / 2 % 4));
}

}  // namespace t2v::kernels
