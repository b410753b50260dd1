// x += branch * gate on the fp32 residual stream: of a chunk, and of a row for the kernels that go
// on with the new one.
#pragma once

#include "device/vec.cuh"

namespace t2v::kernels {

// The new x of one row: written to memory, and held in registers by the wide walk. The narrow one
// reads back what the same thread has written.
template <typename Walk>
class Sums {
 public:
  static constexpr int kWidth = Walk::kWidth;

  __device__ explicit Sums(float* row) : row_(row) {}

  __device__ void put(int item, const Chunk<float, kWidth>& chunk) {
    Walk::store(row_ + Walk::column(item), chunk);
    if constexpr (Walk::kHeld == Walk::kItems) held_[item] = chunk;
  }
  __device__ Chunk<float, kWidth> operator[](int item) const {
    if constexpr (Walk::kHeld == Walk::kItems)
      return held_[item];
    else
      return Walk::load(row_ + Walk::column(item));
  }

 private:
  float* row_;
  Chunk<float, kWidth> held_[Walk::kHeld];
};

// chunk + branch * gate, one fused multiply-add an element. gate: of these columns; null means 1.
template <typename Walk, typename Branch>
__device__ inline Chunk<float, Walk::kWidth> add_gated(Chunk<float, Walk::kWidth> chunk,
                                                       const Chunk<Branch, Walk::kWidth>& branch,
                                                       const float* gate) {
  Chunk<float, Walk::kWidth> factor;
#pragma unroll
  for (int i = 0; i < Walk::kWidth; ++i) factor.at[i] = 1.0F;
  if (gate) factor = Walk::load(gate);
#pragma unroll
  for (int i = 0; i < Walk::kWidth; ++i)
    chunk.at[i] = fmaf(to_float(branch.at[i]), factor.at[i], chunk.at[i]);
  return chunk;
}

// Adds the gated branch to x; returns this thread's share of the sum of the new row.
template <typename Branch, typename Walk, typename Args>
__device__ float add_branch(const Args& args, std::int64_t row, std::int64_t group,
                            Sums<Walk>& sums) {
  constexpr int kWidth = Walk::kWidth;
  const int columns = static_cast<int>(args.columns);
  const typename Walk::template Row<float> old(args.x + row * args.x_row_stride, columns);
  const typename Walk::template Row<Branch> branch(
      static_cast<const Branch*>(args.branch) + row * args.branch_row_stride, columns);
  const float* const gate = args.gate ? args.gate + group * args.gate_group_stride : nullptr;
  float sum = 0.0F;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    const int column = Walk::column(item);
    if (column >= columns) continue;
    const Chunk<float, kWidth> chunk =
        add_gated<Walk, Branch>(old[item], branch[item], gate ? gate + column : nullptr);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum += chunk.at[i];
    sums.put(item, chunk);
  }
  return sum;
}

}  // namespace t2v::kernels
