#include "models/wan/experts.h"

namespace t2v::models::wan {

const char* expert_name(Expert expert) noexcept {
  return expert == Expert::kHighNoise ? "high_noise" : "low_noise";
}

Experts::Experts(std::function<std::unique_ptr<Transformer>(Expert)> load, bool keep_both)
    : load_(std::move(load)), keep_both_(keep_both) {}

const Transformer& Experts::get(Expert expert) {
  auto& wanted = expert == Expert::kHighNoise ? high_noise_ : low_noise_;
  auto& other = expert == Expert::kHighNoise ? low_noise_ : high_noise_;
  if (!wanted) {
    if (!keep_both_) other.reset();
    wanted = load_(expert);
  }
  return *wanted;
}

void Experts::release() noexcept {
  high_noise_.reset();
  low_noise_.reset();
}

}  // namespace t2v::models::wan
