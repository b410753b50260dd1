// LayerNorm of a row that is held in registers, for the kernels that quantise it.
#pragma once

#include "device/byte_rows.cuh"
#include "t2v/kernels/layer_norm_modulate.h"

namespace t2v::kernels {

// Vectors of the row's group.
struct RowNormVectors {
  const float* scale;
  const float* shift;
  Modulation modulation;
  float eps;
};

// Shared memory of one row, used for nothing else.
struct RowNormParts {
  float sums[kWarpSize];
  float squares[kWarpSize];
  float maxima[kWarpSize];
};

// x becomes (x - mean) / deviation * a + b. `sum` is this thread's share of the sum of the row,
// whose values past the end are 0 and stay so.
__device__ inline void normalise_row(RowValues& x, int columns, float sum,
                                     const RowNormVectors& vectors, RowNormParts& parts) {
  constexpr int kWidth = GroupWalk::kWidth;
  const float mean = block_sum(sum, parts.sums) / static_cast<float>(columns);
  float squares = 0.0F;
#pragma unroll
  for (int item = 0; item < GroupWalk::kItems; ++item) {
    if (GroupWalk::column(item) >= columns) continue;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) squares += (x[item][i] - mean) * (x[item][i] - mean);
  }
  const float variance = block_sum(squares, parts.squares) / static_cast<float>(columns);
  const float scale = rsqrtf(variance + vectors.eps);
  const float offset = vectors.modulation == Modulation::kScaleShift ? 1.0F : 0.0F;
#pragma unroll
  for (int item = 0; item < GroupWalk::kItems; ++item) {
    const int column = GroupWalk::column(item);
    if (column >= columns) continue;
    const Chunk<float, kWidth> a = load_chunk<kWidth>(vectors.scale + column);
    const Chunk<float, kWidth> b = load_chunk<kWidth>(vectors.shift + column);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float normal = (x[item][i] - mean) * scale;
      x[item][i] = normal * (offset + a.at[i]) + b.at[i];
    }
  }
}

}  // namespace t2v::kernels
