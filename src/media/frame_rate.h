// Frames per second as an exact fraction.
#pragma once

#include <cstdint>

namespace t2v::media {

struct FrameRate {
  int num = 16;  // frames
  int den = 1;   // seconds
};

// The NTSC rates (23.976, 29.97, 59.94, ...) become n*1000/1001; anything else the simplest
// fraction that is equal within 1e-9, with terms up to 1,000,000. Throws Error{kUsage} outside 0.01
// .. 1000.
FrameRate frame_rate_of(double fps);

}  // namespace t2v::media
