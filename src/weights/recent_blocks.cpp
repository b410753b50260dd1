#include "weights/recent_blocks.h"

#include <algorithm>

namespace t2v::weights {

BlockPtr RecentBlocks::get(int64_t index, const std::function<BlockPtr()>& load) {
  std::promise<BlockPtr> promise;
  std::shared_future<BlockPtr> waiting;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const Entry& entry) { return entry.index == index; });
    if (found != entries_.end()) {
      waiting = found->block;
      entries_.splice(entries_.begin(), entries_, found);
    } else {
      entries_.push_front({index, promise.get_future().share()});
      if (entries_.size() > capacity_) entries_.pop_back();
    }
  }
  if (waiting.valid()) return waiting.get();
  try {
    BlockPtr block = load();
    promise.set_value(block);
    return block;
  } catch (...) {
    promise.set_exception(std::current_exception());
    const std::lock_guard lock(mutex_);
    entries_.remove_if([&](const Entry& entry) { return entry.index == index; });
    throw;
  }
}

}  // namespace t2v::weights
