// Grid, block and vector widths of the row kernels: one block per row, the row in registers. Plain
// integer arithmetic without CUDA, so that it is tested on the host (tests/kernels).
#pragma once

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

constexpr int kWarpSize = 32;
constexpr int kMaxThreads = 1024;
constexpr int kAccessBytes = 16;  // the widest load that all supported architectures have

// 16 fp32 values stay in registers per thread: with addresses and parameters that is below the 64
// registers that a block of 1024 threads can have.
constexpr int kValuesPerThread = 16;
constexpr std::int64_t kMaxColumns = std::int64_t{kValuesPerThread} * kMaxThreads;
constexpr std::int64_t kMaxBlocks = 2147483647;  // grid.x

// rows * row stride * 4 bytes stays below 2^63.
constexpr std::int64_t kMaxRowStride = std::int64_t{1} << 29;

// A matrix that a row kernel touches. Units are elements unless the name says bytes. A vector
// that all rows share has row_stride 0.
struct RowOperand {
  std::uintptr_t address = 0;
  std::int64_t row_stride = 0;
  int bytes_per_element = 0;
};

T2V_HOST_DEVICE constexpr std::int64_t divide_up(std::int64_t value, std::int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// Elements of one 16-byte access.
T2V_HOST_DEVICE constexpr int full_width(int bytes_per_element) {
  return kAccessBytes / bytes_per_element;
}

// Bytes of one access when a chunk of `width` elements is read or written; wider chunks take
// several 16-byte accesses.
T2V_HOST_DEVICE constexpr int access_bytes(int width, int bytes_per_element) {
  return width * bytes_per_element < kAccessBytes ? width * bytes_per_element : kAccessBytes;
}

// True when every chunk of `width` elements of every row starts at a multiple of its access.
constexpr bool allows_width(const RowOperand& operand, std::int64_t columns, int width) {
  const int access = access_bytes(width, operand.bytes_per_element);
  return columns % width == 0 && operand.address % static_cast<std::uintptr_t>(access) == 0 &&
         operand.row_stride * operand.bytes_per_element % access == 0;
}

// `wide` when all operands allow it, else `narrow` (which has to work for every operand).
constexpr int choose_width(const RowOperand* operands, int num_operands, std::int64_t columns,
                           int wide, int narrow) {
  for (int i = 0; i < num_operands; ++i) {
    if (!allows_width(operands[i], columns, wide)) return narrow;
  }
  return wide;
}

// Threads of the block that serves one row: whole warps, enough for kValuesPerThread values each.
// 0 when the row has no columns or does not fit.
T2V_HOST_DEVICE constexpr int threads_for(std::int64_t columns) {
  if (columns < 1 || columns > kMaxColumns) return 0;
  return static_cast<int>(divide_up(columns, kValuesPerThread * kWarpSize)) * kWarpSize;
}

// First column of the chunk that `thread` handles as its item number `item`; it may lie past the
// row's end. Neighbouring threads take neighbouring chunks, so that accesses coalesce.
T2V_HOST_DEVICE constexpr int first_column(int item, int thread, int threads, int width) {
  return (item * threads + thread) * width;
}

// Which modulation vector a row uses; rows_per_group is at least 1.
T2V_HOST_DEVICE constexpr std::int64_t group_of_row(std::int64_t row, std::int64_t rows_per_group) {
  return static_cast<std::int64_t>(static_cast<std::uint32_t>(row) /
                                   static_cast<std::uint32_t>(rows_per_group));
}

// A shape that a row kernel can launch. Zero rows are valid (nothing to do).
constexpr bool valid_shape(std::int64_t rows, std::int64_t columns) {
  return rows >= 0 && rows <= kMaxBlocks && columns >= 1 && columns <= kMaxColumns;
}

constexpr bool valid_groups(std::int64_t rows_per_group, std::int64_t group_stride) {
  return rows_per_group >= 0 && rows_per_group <= kMaxBlocks && group_stride >= 0 &&
         group_stride <= kMaxRowStride;
}

// A matrix of `columns` wide rows that do not overlap.
constexpr bool valid_matrix(const RowOperand& operand, std::int64_t columns) {
  return operand.address != 0 && operand.bytes_per_element > 0 && operand.row_stride >= columns &&
         operand.row_stride <= kMaxRowStride;
}

// Elements start at multiples of their own size.
constexpr bool element_aligned(const RowOperand& operand) {
  return operand.address % static_cast<std::uintptr_t>(operand.bytes_per_element) == 0;
}

inline std::uintptr_t address_of(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

}  // namespace t2v::kernels
