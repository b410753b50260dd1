// Which latent frame lies in which slot of a causal cache: index logic only.
#pragma once

#include <cstdint>
#include <vector>

namespace t2v::models::wan {

// Frames come in order and fill slots 0, 1, 2, ...; when all are taken, the newest frame takes the
// place of the oldest. The first frames of the video, the sinks, never go: frame f < num_sinks
// lies in slot f. Slots in use are always 0..used()-1.
class SlotTable {
 public:
  // num_slots >= num_sinks >= 0.
  SlotTable(int64_t num_slots, int64_t num_sinks);

  // The next frames first..first+count-1 come in. Slot of each; -1 for one that finds no place
  // because later ones of these take all.
  std::vector<int64_t> enter(int64_t first, int64_t count);

  // What a slot's contents must be copied to so that the table stays true.
  struct Move {
    int64_t from = 0;
    int64_t to = 0;
  };
  // Forgets all but the sinks and the last `count` other frames. To be done in order: no move
  // writes over what a later one reads.
  std::vector<Move> keep_last(int64_t count);

  [[nodiscard]] int64_t used() const noexcept { return static_cast<int64_t>(frames_.size()); }
  [[nodiscard]] int64_t num_slots() const noexcept { return num_slots_; }
  // By slot.
  [[nodiscard]] const std::vector<int64_t>& frames() const noexcept { return frames_; }
  // The oldest frame that is no sink; -1 when there is none.
  [[nodiscard]] int64_t first_in_window() const noexcept;

 private:
  [[nodiscard]] int64_t slot_of_oldest() const noexcept;  // of those that may go; -1

  int64_t num_slots_;
  int64_t num_sinks_;
  std::vector<int64_t> frames_;
};

}  // namespace t2v::models::wan
