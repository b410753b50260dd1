// Where the key blocks of one query block lie: the policies that walk all keys, or a list, or a
// table of slots. count() blocks are visited; the i-th is at(i).
#pragma once

#include "device/flash_params.cuh"
#include "device/mma.cuh"

namespace t2v::kernels {

// Rows of k and v: first, and how many of the block's 64 exist.
struct KeyRows {
  int first;
  int count;
};

// All keys in order, 64 by 64.
class DenseBlocks {
 public:
  __device__ DenseBlocks(const FlashParams& params, int /*head*/, int /*query_block*/)
      : num_keys_(static_cast<int>(params.args.num_keys)) {}
  [[nodiscard]] __device__ int count() const { return (num_keys_ + kKeyBlock - 1) / kKeyBlock; }
  [[nodiscard]] __device__ KeyRows at(int index) const {
    const int first = index * kKeyBlock;
    return {first, min(kKeyBlock, num_keys_ - first)};
  }

 private:
  int num_keys_;
};

// A list, a table, or both. They are read anew for each block: 32 entries share a cache line, and
// the registers are needed elsewhere.
class ListedBlocks {
 public:
  __device__ ListedBlocks(const FlashParams& params, int head, int query_block)
      : params_(params), list_row_(query_block) {
    if (params.args.list.scope == ListScope::kPerHead)
      list_row_ += head * params.num_query_blocks;  // at most the grid
  }
  [[nodiscard]] __device__ int count() const {
    const KeyBlockList& list = params_.args.list;
    return list.lut ? list.counts[list_row_] : params_.num_key_blocks;
  }
  [[nodiscard]] __device__ KeyRows at(int index) const {
    const KeyBlockList& list = params_.args.list;
    const KeyBlockTable& table = params_.args.table;
    const int block = list.lut ? list.lut[list_row_ * list.max_blocks + index] : index;
    if (table.first_row) return {table.first_row[block], table.num_rows[block]};
    const int first = block * kKeyBlock;
    return {first, min(kKeyBlock, static_cast<int>(params_.args.num_keys) - first)};
  }

 private:
  const FlashParams& params_;
  int list_row_;
};

}  // namespace t2v::kernels
