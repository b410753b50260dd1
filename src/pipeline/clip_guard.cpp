#include "pipeline/clip_guard.h"

#include <algorithm>

#include "core/check.h"

namespace t2v::pipeline {

void ClipGuard::see(const uint8_t* rgb, int64_t num_pixels) noexcept {
  if (varies_ || num_pixels == 0) return;
  if (!has_seen_) std::copy_n(rgb, 3, first_.begin());
  has_seen_ = true;
  for (int64_t i = 0; i < num_pixels && !varies_; ++i)
    varies_ = !std::equal(first_.begin(), first_.end(), rgb + 3 * i);
}

void ClipGuard::require_picture() const {
  if (!has_seen_ || varies_) return;
  const bool black = std::max({first_[0], first_[1], first_[2]}) < 3;
  throw Error(ErrorKind::kNumeric,
              core::str("the decoded clip is ", black ? "black" : "of one colour",
                        " in every pixel of every frame, which is a numeric failure (VAE); try "
                        "--dtype fp32, and t2v verify for the model's files"));
}

}  // namespace t2v::pipeline
