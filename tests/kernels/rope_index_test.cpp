// Index arithmetic of the rotary embedding, by brute force against its definition.
#include "t2v/kernels/rope_index.h"

#include <catch2/catch.hpp>
#include <vector>

using namespace t2v::kernels;

TEST_CASE("a token's grid position is the inverse of (frame * height + row) * width + column") {
  for (const auto& [frames, height, width] :
       {GridPosition{1, 1, 1}, GridPosition{3, 1, 7}, GridPosition{5, 4, 1}, GridPosition{2, 9, 13},
        GridPosition{21, 45, 80}}) {
    int token = 0;
    for (int frame = 0; frame < frames; ++frame) {
      for (int row = 0; row < height; ++row) {
        for (int column = 0; column < width; ++column, ++token) {
          const GridPosition at = grid_position(token, height, width);
          REQUIRE(at.frame == frame);
          REQUIRE(at.row == row);
          REQUIRE(at.column == column);
        }
      }
    }
  }
}

TEST_CASE("pairs of a head go to frame, row and column as the checkpoints have them") {
  CHECK(axis_pairs(128).frame == 22);  // 44 channels
  CHECK(axis_pairs(128).row == 21);    // 42
  CHECK(axis_pairs(128).column == 21);
  for (int head_size = 2; head_size <= 1024; head_size += 2) {
    const AxisPairs pairs = axis_pairs(head_size);
    const int spatial_channels = 2 * (head_size / 6);
    REQUIRE(2 * pairs.row == spatial_channels);
    REQUIRE(2 * pairs.column == spatial_channels);
    REQUIRE(2 * pairs.frame == head_size - 2 * spatial_channels);
    REQUIRE(pairs.frame >= 1);

    // Walk the concatenation [frame | row | column] and compare.
    int pair = 0;
    const std::vector<std::pair<RopeAxis, int>> axes = {{RopeAxis::kFrame, pairs.frame},
                                                        {RopeAxis::kRow, pairs.row},
                                                        {RopeAxis::kColumn, pairs.column}};
    for (const auto& [axis, count] : axes) {
      for (int index = 0; index < count; ++index, ++pair) {
        const PairPlace place = place_of_pair(pair, pairs);
        REQUIRE(place.axis == axis);
        REQUIRE(place.index == index);
      }
    }
    REQUIRE(pair == head_size / 2);
  }
}

TEST_CASE("packed columns go to [N, L, D]") {
  for (const int head_size : {2, 6, 64, 128}) {
    for (const int num_heads : {1, 3, 12}) {
      for (const std::int64_t num_tokens : {1, 5}) {
        for (std::int64_t token = 0; token < num_tokens; ++token) {
          for (int head = 0; head < num_heads; ++head) {
            for (int channel = 0; channel < head_size; ++channel) {
              const int column = head * head_size + channel;
              const std::int64_t expected = (head * num_tokens + token) * head_size + channel;
              REQUIRE(head_offset(column, token, num_tokens, head_size) == expected);
            }
          }
        }
      }
    }
  }
  // The largest video of the contract does not overflow.
  CHECK(head_offset(16383, 715827881, 715827882, 1024) ==
        (std::int64_t{15} * 715827882 + 715827881) * 1024 + 1023);
}
