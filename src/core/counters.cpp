#include "core/counters.h"

#include <array>
#include <atomic>
#include <cstddef>

namespace t2v::core {
namespace {

std::array<std::atomic<int64_t>, static_cast<size_t>(Counter::kCount)> counters{};

}  // namespace

void count(Counter counter, int64_t more) noexcept {
  counters[static_cast<size_t>(counter)].fetch_add(more, std::memory_order_relaxed);
}

int64_t counted(Counter counter) noexcept {
  return counters[static_cast<size_t>(counter)].load(std::memory_order_relaxed);
}

}  // namespace t2v::core
