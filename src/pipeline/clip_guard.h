// Refuses a clip of one colour: what a numeric failure looks like when no number is NaN.
#pragma once

#include <array>
#include <cstdint>

namespace t2v::pipeline {

class ClipGuard {
 public:
  // rgb: num_pixels x 3 bytes of any part of the clip.
  void see(const uint8_t* rgb, int64_t num_pixels) noexcept;
  // Behind the last frame. Throws Error{kNumeric} when all pixels of all frames were the same.
  void require_picture() const;

 private:
  bool has_seen_ = false;
  bool varies_ = false;
  std::array<uint8_t, 3> first_{};
};

}  // namespace t2v::pipeline
