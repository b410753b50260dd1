// x += branch * gate for one row of the fp32 residual stream, for the kernels that go on with the
// new row.
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
    Chunk<float, kWidth> chunk = old[item];
    const Chunk<Branch, kWidth> added = branch[item];
    Chunk<float, kWidth> factor;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) factor.at[i] = 1.0F;
    if (gate) factor = Walk::load(gate + column);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      chunk.at[i] = fmaf(to_float(added.at[i]), factor.at[i], chunk.at[i]);
      sum += chunk.at[i];
    }
    sums.put(item, chunk);
  }
  return sum;
}

}  // namespace t2v::kernels
