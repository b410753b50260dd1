// The last few blocks that small reads have asked for, so that a hundred small tensors of one block
// cost one request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace t2v::weights {

using Block = std::vector<std::byte>;
using BlockPtr = std::shared_ptr<const Block>;

// Of one file. get() may be called from several threads at once; those that want the same block
// wait for one load.
class RecentBlocks {
 public:
  explicit RecentBlocks(size_t capacity) : capacity_(capacity) {}

  // The block, from memory or from load(), whose exceptions go to all who wait for it.
  BlockPtr get(int64_t index, const std::function<BlockPtr()>& load);

 private:
  struct Entry {
    int64_t index;
    std::shared_future<BlockPtr> block;
  };

  size_t capacity_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // the most recently used first
};

}  // namespace t2v::weights
