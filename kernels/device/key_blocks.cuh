// Where the key blocks of one query block lie: the policies that walk all keys, or a list, or a
// table of slots. count() blocks are visited; the i-th is at(i).
#pragma once

#include "device/flash_params.cuh"

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
      : table_(params.args.table), num_keys_(static_cast<int>(params.args.num_keys)) {
    const KeyBlockList& list = params.args.list;
    count_ = params.num_key_blocks;
    if (!list.lut) return;
    const int list_head = list.scope == ListScope::kPerHead ? head : 0;
    const std::int64_t row = std::int64_t{list_head} * params.num_query_blocks + query_block;
    blocks_ = list.lut + row * list.max_blocks;
    count_ = list.counts[row];
  }
  [[nodiscard]] __device__ int count() const { return count_; }
  [[nodiscard]] __device__ KeyRows at(int index) const {
    const int block = blocks_ ? blocks_[index] : index;
    if (table_.first_row) return {table_.first_row[block], table_.num_rows[block]};
    const int first = block * kKeyBlock;
    return {first, min(kKeyBlock, num_keys_ - first)};
  }

 private:
  KeyBlockTable table_;
  const std::int32_t* blocks_ = nullptr;
  int num_keys_;
  int count_;
};

}  // namespace t2v::kernels
