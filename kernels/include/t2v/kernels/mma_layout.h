// Who holds what: fragments of the warp-wide 16-bit matrix product m16n8k16, the lanes' addresses
// for loading them, and the swizzle of tiles in shared memory. Plain integers, tested on the host.
// Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type" and "ldmatrix".
#pragma once

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

struct MatrixPlace {
  int row;
  int column;
};

// A [16 x 16]: lane holds 8 elements, two per register.
T2V_HOST_DEVICE constexpr MatrixPlace place_in_a(int lane, int element) {
  const int row_half = element / 2 % 2;  // registers 1 and 3: rows 8..15
  const int column_half = element / 4;   // registers 2 and 3: columns 8..15
  return {lane / 4 + 8 * row_half, lane % 4 * 2 + element % 2 + 8 * column_half};
}

// B [16 (k) x 8 (n)]: lane holds 4 elements, two per register, two neighbours in k.
T2V_HOST_DEVICE constexpr MatrixPlace place_in_b(int lane, int element) {
  return {lane % 4 * 2 + element % 2 + 8 * (element / 2), lane / 4};
}

// C and D [16 x 8], fp32: lane holds 4 elements, one per register.
T2V_HOST_DEVICE constexpr MatrixPlace place_in_c(int lane, int element) {
  return {lane / 4 + 8 * (element / 2), lane % 4 * 2 + element % 2};
}

// ldmatrix x4 reads four 8x8 matrices of 16-bit elements; lane i gives the address of row i%8 of
// matrix i/8 (16 bytes), and register m of each lane gets two neighbours of matrix m: row lane/4,
// columns 2*(lane%4) and the next (with .trans: of the transposed matrix). A tile of 16 rows x 16
// columns consists of four such matrices; these two say which quarter a lane addresses.

// Quarters in the order rows 0-7, rows 8-15, then columns 8-15: A of m16n8k16 from row-major rows;
// with .trans two neighbouring B from rows that run along k.
T2V_HOST_DEVICE constexpr MatrixPlace quarter_rows_first(int lane) {
  return {lane % 8 + 8 * (lane / 8 % 2), 8 * (lane / 16)};
}

// Quarters in the order columns 0-7, columns 8-15, then rows 8-15: two neighbouring B from rows
// that run along n.
T2V_HOST_DEVICE constexpr MatrixPlace quarter_columns_first(int lane) {
  return {lane % 8 + 8 * (lane / 16), 8 * (lane / 8 % 2)};
}

// A row of a tile is stored in chunks of 16 bytes (8 elements); chunk c of row r goes to place
// c ^ (r % 8). The eight rows that one 8x8 matrix touches then lie in different banks.
T2V_HOST_DEVICE constexpr int swizzled_chunk(int row, int chunk) { return chunk ^ (row % 8); }

// Byte offset of a chunk in a tile whose rows have row_bytes (a multiple of 128).
T2V_HOST_DEVICE constexpr int tile_offset(int row, int chunk, int row_bytes) {
  return row * row_bytes + 16 * swizzled_chunk(row, chunk);
}

}  // namespace t2v::kernels
