// Launch shapes and vector widths, by brute force against what they promise.
#include "t2v/kernels/launch_shape.h"

#include <catch2/catch.hpp>
#include <vector>

using namespace t2v::kernels;

TEST_CASE("each column of a row belongs to exactly one thread") {
  for (const int width : {1, 2, 4, 8}) {
    for (std::int64_t columns = width; columns <= kMaxColumns;
         columns += columns < 1200 ? width : 1117 * width) {
      const int threads = threads_for(columns);
      std::vector<int> visits(static_cast<std::size_t>(columns), 0);
      for (int thread = 0; thread < threads; ++thread) {
        for (int item = 0; item < kValuesPerThread / width; ++item) {
          const int first = first_column(item, thread, threads, width);
          if (first >= columns) continue;
          for (int i = 0; i < width; ++i) ++visits.at(static_cast<std::size_t>(first + i));
        }
      }
      for (const int visit : visits) REQUIRE(visit == 1);
    }
  }
}

TEST_CASE("a block has whole warps, no more than needed, at most 1024 threads") {
  for (std::int64_t columns = 1; columns <= kMaxColumns; ++columns) {
    const int threads = threads_for(columns);
    REQUIRE(threads % kWarpSize == 0);
    REQUIRE(threads >= kWarpSize);
    REQUIRE(threads <= kMaxThreads);
    REQUIRE(std::int64_t{threads} * kValuesPerThread >= columns);
    REQUIRE(std::int64_t{threads - kWarpSize} * kValuesPerThread < columns);
  }
  CHECK(threads_for(0) == 0);
  CHECK(threads_for(-5) == 0);
  CHECK(threads_for(kMaxColumns + 1) == 0);
  CHECK(threads_for(5120) == 320);
  CHECK(threads_for(1536) == 96);
}

TEST_CASE("a wide access is chosen only if all its addresses are aligned") {
  for (const int bytes : {2, 4}) {
    for (const int width : {2, 4, 8}) {
      for (std::uintptr_t offset = 0; offset < 32; offset += 2) {
        for (std::int64_t stride = 24; stride < 44; ++stride) {
          for (const std::int64_t columns : {16, 20, 22, 23, 24}) {
            const RowOperand operand{4096 + offset, stride, bytes};
            bool aligned = columns % width == 0;
            const auto access = static_cast<std::uintptr_t>(access_bytes(width, bytes));
            for (std::int64_t row = 0; row < 16 && aligned; ++row) {
              for (std::int64_t column = 0; column < columns; column += width) {
                const auto at =
                    operand.address + static_cast<std::uintptr_t>((row * stride + column) * bytes);
                aligned = aligned && at % access == 0;
              }
            }
            REQUIRE(allows_width(operand, columns, width) == aligned);
            REQUIRE(choose_width(&operand, 1, columns, width, 1) == (aligned ? width : 1));
          }
        }
      }
    }
  }
}

TEST_CASE("one operand that does not allow the wide access makes all narrow") {
  const RowOperand good{4096, 64, 4};
  const RowOperand odd_address{4100, 64, 4};
  const RowOperand odd_stride{4096, 66, 4};
  const RowOperand shared_vector{4096, 0, 4};
  for (const auto& [last, expected] : {std::pair{good, 4}, std::pair{odd_address, 1},
                                       std::pair{odd_stride, 1}, std::pair{shared_vector, 4}}) {
    const RowOperand operands[] = {good, good, last};
    CHECK(choose_width(operands, 3, 64, 4, 1) == expected);
  }
  CHECK(full_width(4) == 4);
  CHECK(full_width(2) == 8);
  CHECK(access_bytes(4, 2) == 8);
  CHECK(access_bytes(8, 4) == 16);
}

TEST_CASE("shapes, strides and groups outside the contract are refused") {
  CHECK(valid_shape(0, 1));
  CHECK(valid_shape(kMaxBlocks, kMaxColumns));
  CHECK_FALSE(valid_shape(-1, 1));
  CHECK_FALSE(valid_shape(kMaxBlocks + 1, 1));
  CHECK_FALSE(valid_shape(1, 0));
  CHECK_FALSE(valid_shape(1, kMaxColumns + 1));
  CHECK(valid_matrix({4096, 8, 4}, 8));
  CHECK_FALSE(valid_matrix({0, 8, 4}, 8));
  CHECK_FALSE(valid_matrix({4096, 7, 4}, 8));
  CHECK_FALSE(valid_matrix({4096, kMaxRowStride + 1, 4}, 8));
  CHECK_FALSE(valid_matrix({4096, 8, 0}, 8));
  CHECK_FALSE(element_aligned({4098, 8, 4}));
  CHECK(element_aligned({4098, 8, 2}));
  CHECK(valid_groups(0, 0));
  CHECK_FALSE(valid_groups(-1, 0));
  CHECK_FALSE(valid_groups(1, -1));
  CHECK(element_bytes(static_cast<DType>(77)) == 0);
}

TEST_CASE("rows are grouped in order") {
  for (const std::int64_t group : {1, 3, 7, 1000}) {
    std::int64_t expected = 0;
    for (std::int64_t row = 0; row < 5000; ++row) {
      if (row > 0 && row % group == 0) ++expected;
      REQUIRE(group_of_row(row, group) == expected);
    }
  }
  CHECK(group_of_row(kMaxBlocks - 1, kMaxBlocks) == 0);
  CHECK(group_of_row(kMaxBlocks - 1, 1) == kMaxBlocks - 1);
}
