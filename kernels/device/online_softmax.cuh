// Softmax over keys that arrive tile by tile: running maximum and sum of each row, in registers.
// Rows lie as in fragment C of m16n8k16: four neighbouring lanes share rows lane/4 and lane/4 + 8.
#pragma once

#include "device/flash_tile.cuh"

namespace t2v::kernels {

constexpr unsigned kAllLanes = 0xffffffffU;

// Over the four lanes of a row.
__device__ inline float row_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}
__device__ inline float row_sum(float value) {
  value += __shfl_xor_sync(kAllLanes, value, 1);
  return value + __shfl_xor_sync(kAllLanes, value, 2);
}

template <typename Shape>
struct OnlineSoftmax {
  using Scores = float[Shape::kRowTiles][Shape::kScoreTiles][4];
  using Factors = float[Shape::kRowTiles][2];

  Factors max;  // in units of log2
  Factors sum;  // of this lane's columns only, until finish()

  __device__ void reset() {
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        max[m][half] = -INFINITY;
        sum[m][half] = 0.0F;
      }
    }
  }

  // weights = exp2(scores * scale(m) - max) for the warp's m-th 16 rows, rounded after they were
  // summed; scale(m) > 0. `factors` is what older sums must be multiplied by, exactly 1 where the
  // maximum has not changed. Returns whether any row of the warp has another.
  template <typename Scale>
  __device__ bool update(const Scores& scores, Weights<Shape>& weights, Factors& factors,
                         const Scale& scale_of) {
    bool changed = false;
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
      const float scale = scale_of(m);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = -INFINITY;
#pragma unroll
        for (int n = 0; n < Shape::kScoreTiles; ++n) {
          largest = fmaxf(largest, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
        }
        const float before = max[m][half];
        const float now = fmaxf(before, row_max(largest) * scale);
        // A row without a visible key so far: every exponent below is -inf, not NaN.
        const float origin = now == -INFINITY ? 0.0F : now;
        const float factor = fast_exp2(before - origin);
        float added = 0.0F;
#pragma unroll
        for (int n = 0; n < Shape::kScoreTiles; ++n) {
          const float left = fast_exp2(fmaf(scores[m][n][2 * half], scale, -origin));
          const float right = fast_exp2(fmaf(scores[m][n][2 * half + 1], scale, -origin));
          added += left;
          added += right;
          weights[m][n][half] = pack(left, right, typename Shape::T{});
        }
        sum[m][half] = fmaf(sum[m][half], factor, added);
        max[m][half] = now;
        factors[m][half] = factor;
        changed = changed || factor != 1.0F;
      }
    }
    return __any_sync(kAllLanes, changed) != 0;
  }

  // Sums of whole rows.
  __device__ void finish() {
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) sum[m][half] = row_sum(sum[m][half]);
    }
  }
};

}  // namespace t2v::kernels
