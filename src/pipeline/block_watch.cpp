#include "pipeline/block_watch.h"

#include <ATen/ops/sum.h>

#include <cmath>

namespace t2v::pipeline {

// A sum is not finite when a part is not; it is also not when finite parts are beyond 1e38
// together, which no healthy stream is.
void BlockWatch::see(int64_t block, const at::Tensor& stream) {
  sums_.emplace_back(block, stream.sum());
}

std::optional<int64_t> BlockWatch::first_bad_block() const {
  for (const auto& [block, sum] : sums_)
    if (!std::isfinite(sum.item<float>())) return block;
  return std::nullopt;
}

}  // namespace t2v::pipeline
