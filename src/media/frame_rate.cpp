#include "media/frame_rate.h"

#include <cmath>

#include "core/check.h"

namespace t2v::media {
namespace {

constexpr double kMinFps = 0.01;
constexpr double kMaxFps = 1000;
constexpr int64_t kMaxTerm = 1'000'000;  // keeps every time scale of the containers in 32 bits

}  // namespace

FrameRate frame_rate_of(double fps) {
  T2V_REQUIRE(std::isfinite(fps) && fps >= kMinFps && fps <= kMaxFps, ErrorKind::kUsage,
              "frame rate is out of range: ", fps, " frames per second, expected ", kMinFps, " to ",
              kMaxFps, " (--fps)");
  const double ntsc = std::round(fps * 1.001);
  const bool whole = fps == std::round(fps);
  if (!whole && std::abs(fps - ntsc / 1.001) < 2e-6 * fps) {
    return {static_cast<int>(ntsc) * 1000, 1001};
  }
  // Convergents of the continued fraction.
  int64_t num = 1, den = 0, num_before = 0, den_before = 1;
  double rest = fps;
  for (int i = 0; i < 32; ++i) {
    const auto term = static_cast<int64_t>(std::floor(rest));
    const int64_t next_num = term * num + num_before;
    const int64_t next_den = term * den + den_before;
    if (next_num > kMaxTerm || next_den > kMaxTerm) break;
    num_before = num;
    den_before = den;
    num = next_num;
    den = next_den;
    const double value = static_cast<double>(num) / static_cast<double>(den);
    if (num > 0 && std::abs(value - fps) <= 1e-9 * fps) break;
    const double fraction = rest - std::floor(rest);
    if (fraction < 1e-12) break;
    rest = 1 / fraction;
    if (rest > 1e9) break;
  }
  return {static_cast<int>(num), static_cast<int>(den)};
}

}  // namespace t2v::media
