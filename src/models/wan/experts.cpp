#include "models/wan/experts.h"

namespace t2v::models::wan {
namespace {

Expert other_than(Expert expert) noexcept {
  return expert == Expert::kHighNoise ? Expert::kLowNoise : Expert::kHighNoise;
}

}  // namespace

const char* expert_name(Expert expert) noexcept {
  return expert == Expert::kHighNoise ? "high_noise" : "low_noise";
}

Experts::Experts(std::function<std::unique_ptr<Transformer>(Expert)> open, bool keep_both)
    : open_(std::move(open)), keep_both_(keep_both) {}

Transformer& Experts::get(Expert expert) {
  auto& wanted = slot(expert);
  if (!keep_both_) slot(other_than(expert)).reset();
  if (!wanted)
    wanted = open_(expert);
  else
    wanted->take_all_room();
  return *wanted;
}

void Experts::hand_over_to(Expert next, PromptKeys keys) {
  auto& leaving = slot(other_than(next));
  if (keep_both_ || !leaving || slot(next)) return;
  slot(next) = open_(next);
  slot(next)->take_over_from(*leaving, keys);
}

}  // namespace t2v::models::wan
