// The high-noise and the low-noise transformer of a model, one in memory at a time unless both fit.
// A single-expert model has only a high-noise one.
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
  // open: an expert whose blocks are not loaded yet. keep_both: both may stay in memory.
  Experts(std::function<std::unique_ptr<Transformer>(Expert)> open, bool keep_both);

  // Gives up the other expert first when it is at hand and this one is not.
  Transformer& get(Expert expert);
  // Opens `next` and has its blocks loaded behind those of the other expert, whose next pass is its
  // last. Nothing happens when both may stay. keys: of the prompt, for `next`.
  void hand_over_to(Expert next, PromptKeys keys = PromptKeys::kMade);
  [[nodiscard]] bool keeps_both() const noexcept { return keep_both_; }
  [[nodiscard]] bool is_open(Expert expert) const noexcept {
    return (expert == Expert::kHighNoise ? high_noise_ : low_noise_) != nullptr;
  }

 private:
  [[nodiscard]] std::unique_ptr<Transformer>& slot(Expert expert) noexcept {
    return expert == Expert::kHighNoise ? high_noise_ : low_noise_;
  }

  std::function<std::unique_ptr<Transformer>(Expert)> open_;
  bool keep_both_;
  // In the order of use: the one that takes over ends its loading before the other goes.
  std::unique_ptr<Transformer> high_noise_;
  std::unique_ptr<Transformer> low_noise_;
};

}  // namespace t2v::models::wan
