#include "models/wan/slot_table.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace t2v::models::wan {

SlotTable::SlotTable(int64_t num_slots, int64_t num_sinks)
    : num_slots_(num_slots), num_sinks_(num_sinks) {
  T2V_ASSERT(num_sinks >= 0 && num_slots >= num_sinks);
}

int64_t SlotTable::slot_of_oldest() const noexcept {
  int64_t oldest = -1;
  for (int64_t slot = 0; slot < used(); ++slot) {
    const int64_t frame = frames_[static_cast<size_t>(slot)];
    if (frame < num_sinks_) continue;
    if (oldest < 0 || frame < frames_[static_cast<size_t>(oldest)]) oldest = slot;
  }
  return oldest;
}

int64_t SlotTable::first_in_window() const noexcept {
  const int64_t slot = slot_of_oldest();
  return slot < 0 ? -1 : frames_[static_cast<size_t>(slot)];
}

std::vector<int64_t> SlotTable::enter(int64_t first, int64_t count) {
  std::vector<int64_t> slots;
  const int64_t room = num_slots_ - num_sinks_;  // for frames that are no sinks
  for (int64_t frame = first; frame < first + count; ++frame) {
    if (frame >= num_sinks_ && first + count - frame > room) {
      slots.push_back(-1);
      continue;
    }
    int64_t slot = used();
    if (slot < num_slots_) {
      frames_.push_back(frame);
    } else {
      slot = slot_of_oldest();
      T2V_ASSERT(slot >= 0);
      frames_[static_cast<size_t>(slot)] = frame;
    }
    slots.push_back(slot);
  }
  return slots;
}

std::vector<SlotTable::Move> SlotTable::keep_last(int64_t count) {
  std::vector<std::pair<int64_t, int64_t>> window;  // frame, slot
  std::vector<int64_t> kept;
  for (int64_t slot = 0; slot < used(); ++slot) {
    const int64_t frame = frames_[static_cast<size_t>(slot)];
    if (frame < num_sinks_)
      kept.push_back(frame);
    else
      window.emplace_back(frame, slot);
  }
  std::sort(window.begin(), window.end());
  const auto drop = std::max<int64_t>(0, static_cast<int64_t>(window.size()) - count);
  window.erase(window.begin(), window.begin() + drop);
  // By slot: a place is only filled from behind it.
  std::sort(window.begin(), window.end(), [](auto a, auto b) { return a.second < b.second; });
  std::vector<Move> moves;
  for (const auto& [frame, slot] : window) {
    const auto to = static_cast<int64_t>(kept.size());
    if (slot != to) moves.push_back({slot, to});
    kept.push_back(frame);
  }
  frames_ = std::move(kept);
  return moves;
}

}  // namespace t2v::models::wan
