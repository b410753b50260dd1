// Tensors of a component a few rows at a time, in the order in which they lie in their files.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "weights/weight_map.h"
#include "weights/weight_stream.h"

namespace t2v::weights {

// Some rows of one tensor.
struct RowSlab {
  std::string name;       // canonical
  int64_t begin = 0;      // row
  int64_t count = 0;      // rows
  bool is_first = false;  // of its tensor
  bool is_last = false;
  TensorEntry entry;  // where these rows lie
};

// Rows stay whole blocks and whole groups of scales. One consumer.
class RowReader {
 public:
  // names: canonical. The map outlives the reader. Starts reading at once.
  RowReader(const WeightMap& map, const std::vector<std::string>& names);

  struct Turn {
    std::vector<const RowSlab*> slabs;
    const weights::Turn* turn = nullptr;
    const std::byte* data = nullptr;
    // uint8 [bytes], valid until the next turn.
    [[nodiscard]] at::Tensor bytes_of(const RowSlab& slab) const;
  };
  [[nodiscard]] size_t num_turns() const noexcept { return turns_.size(); }
  // Turn `index` of num_turns(), in order. Throws what reading threw.
  Turn next();
  [[nodiscard]] StreamCounts counts() const noexcept;

 private:
  void cut(const std::string& name, const TensorEntry& entry);
  void group();

  const WeightMap& map_;
  std::deque<RowSlab> slabs_;
  std::vector<std::vector<const RowSlab*>> turns_;
  std::unique_ptr<WeightStream> stream_;
  size_t next_ = 0;
};

}  // namespace t2v::weights
