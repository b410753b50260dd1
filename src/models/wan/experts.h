// The high-noise and the low-noise transformer of a model, one in memory at a time unless both are
// small. A single-expert model has only a high-noise one.
#pragma once

#include <functional>
#include <memory>

#include "models/wan/transformer.h"

namespace t2v::models::wan {

enum class Expert { kHighNoise, kLowNoise };

// "high_noise", "low_noise".
const char* expert_name(Expert expert) noexcept;

class Experts {
 public:
  // load: reads one expert. keep_both: both may stay in memory.
  Experts(std::function<std::unique_ptr<Transformer>(Expert)> load, bool keep_both);

  // Gives up the other expert first, then loads this one, if it is not at hand.
  const Transformer& get(Expert expert);
  [[nodiscard]] bool is_loaded(Expert expert) const noexcept { return slot(expert) != nullptr; }
  // Gives all memory back.
  void release() noexcept;

 private:
  [[nodiscard]] const std::unique_ptr<Transformer>& slot(Expert expert) const noexcept {
    return expert == Expert::kHighNoise ? high_noise_ : low_noise_;
  }

  std::function<std::unique_ptr<Transformer>(Expert)> load_;
  bool keep_both_;
  std::unique_ptr<Transformer> high_noise_;
  std::unique_ptr<Transformer> low_noise_;
};

}  // namespace t2v::models::wan
