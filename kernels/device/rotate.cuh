// Rotation of rows by a block-diagonal Hadamard matrix, in registers: a warp holds 256 neighbouring
// columns, a lane 8 of them. The low 3 bits of a column within its group lie in the lane, the
// others in the lane's number. R is symmetric and its own inverse.
#pragma once

#include "device/vec.cuh"

namespace t2v::kernels {

// Walk of the kernels that rotate.
using GroupWalk = Walk<8, false>;
using GroupValues = float[GroupWalk::kWidth];

// Groups: 0 for no rotation, or a power of 4 that divides the row.
inline bool valid_rotation(int group, std::int64_t columns) noexcept {
  const bool known = group == 0 || group == 4 || group == 16 || group == 64 || group == 256;
  return known && columns % GroupWalk::kWidth == 0 && (group == 0 || columns % group == 0);
}

__device__ inline float from_lane(float value, int mask) {
  return __shfl_xor_sync(0xffffffffU, value, mask);
}

// One factor 2 * H4 for a digit whose low bit is `low` and whose high bit is `high`: every value
// becomes itself + the one across the low bit + the one across the high bit - the one across both.
// Digit of column bits 0 and 1: all four in this lane.
__device__ inline void rotate_in_lane(GroupValues& x) {
#pragma unroll
  for (int first = 0; first < GroupWalk::kWidth; first += 4) {
    const float a = x[first], b = x[first + 1], c = x[first + 2], d = x[first + 3];
    x[first] = (a + b) + (c - d);
    x[first + 1] = (b + a) + (d - c);
    x[first + 2] = (c + d) + (a - b);
    x[first + 3] = (d + c) + (b - a);
  }
}

// Digit of column bits 2 and 3: the high one is bit 0 of the lane's number.
__device__ inline void rotate_half_lane(GroupValues& x) {
#pragma unroll
  for (int i = 0; i < GroupWalk::kWidth / 2; ++i) {
    const float a = x[i], b = x[i + 4];
    x[i] = (a + b) + from_lane(a - b, 1);
    x[i + 4] = (b + a) + from_lane(b - a, 1);
  }
}

// Digit of two bits of the lane's number.
__device__ inline void rotate_lanes(GroupValues& x, int low, int high) {
#pragma unroll
  for (int i = 0; i < GroupWalk::kWidth; ++i) {
    const float across = from_lane(x[i], low);
    x[i] = (x[i] + across) + from_lane(x[i] - across, high);
  }
}

// x R. All lanes of the warp take part; `group` is the same for all of them.
__device__ inline void rotate(GroupValues& x, int group) {
  if (group == 0) return;
  float factor = 0.5F;  // of each H4: exact
  rotate_in_lane(x);
  if (group >= 16) {
    rotate_half_lane(x);
    factor = 0.25F;
  }
  if (group >= 64) {
    rotate_lanes(x, 2, 4);
    factor = 0.125F;
  }
  if (group == 256) {
    rotate_lanes(x, 8, 16);
    factor = 0.0625F;
  }
#pragma unroll
  for (int i = 0; i < GroupWalk::kWidth; ++i) x[i] *= factor;
}

}  // namespace t2v::kernels
