// What the parts of a process have counted, for --metrics-file: one place for all modules.
#pragma once

#include <cstdint>

namespace t2v::core {

enum class Counter {
  kBlockCacheHits,    // blocks of remote files that the cache folder had
  kBlockCacheMisses,  // that came from the store
  kCount,
};

void count(Counter counter, int64_t more = 1) noexcept;
// Of this process so far.
[[nodiscard]] int64_t counted(Counter counter) noexcept;

}  // namespace t2v::core
