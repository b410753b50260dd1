// Index arithmetic of the 3-D rotary embedding: token -> grid position, pair -> axis and frequency,
// packed column -> place in the per-head layout. Tested on the host by brute force.
#pragma once

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

struct GridPosition {
  int frame = 0;
  int row = 0;
  int column = 0;
};

// Inverse of token = (frame * height + row) * width + column.
T2V_HOST_DEVICE constexpr GridPosition grid_position(int token, int height, int width) {
  return {token / (height * width), token / width % height, token % width};
}

// Pairs of a head's D/2 that turn with the frame, the row, the column; in this order.
struct AxisPairs {
  int frame = 0;
  int row = 0;
  int column = 0;
};

// Row and column take D/6 pairs each, the frame takes what is left; D is even.
T2V_HOST_DEVICE constexpr AxisPairs axis_pairs(int head_size) {
  const int spatial = head_size / 6;
  return {head_size / 2 - 2 * spatial, spatial, spatial};
}

enum class RopeAxis : std::uint8_t { kFrame, kRow, kColumn };

struct PairPlace {
  RopeAxis axis = RopeAxis::kFrame;
  int index = 0;  // entry in this axis' table row
};

T2V_HOST_DEVICE constexpr PairPlace place_of_pair(int pair, const AxisPairs& pairs) {
  if (pair < pairs.frame) return {RopeAxis::kFrame, pair};
  if (pair < pairs.frame + pairs.row) return {RopeAxis::kRow, pair - pairs.frame};
  return {RopeAxis::kColumn, pair - pairs.frame - pairs.row};
}

// Element of [N, L, D] where column n*D + d of token l goes.
T2V_HOST_DEVICE constexpr std::int64_t head_offset(int column, std::int64_t token,
                                                   std::int64_t num_tokens, int head_size) {
  const int head = column / head_size;
  return (head * num_tokens + token) * head_size + (column - head * head_size);
}

}  // namespace t2v::kernels
