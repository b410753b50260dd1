// In which block of a pass numbers stopped being finite, without waiting for the device in each.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace t2v::pipeline {

class BlockWatch {
 public:
  void begin_pass() { sums_.clear(); }
  // stream: the residual stream behind the block, fp32. One number of it is kept, on its device.
  void see(int64_t block, const at::Tensor& stream);
  // The first block behind which there was NaN or infinity; nothing when there was none (then it
  // began behind the blocks).
  [[nodiscard]] std::optional<int64_t> first_bad_block() const;

 private:
  std::vector<std::pair<int64_t, at::Tensor>> sums_;
};

}  // namespace t2v::pipeline
