#include "pipeline/geometry.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace t2v::pipeline {
namespace {

constexpr int64_t kMaxPixels = 16384;  // per side
constexpr int64_t kMaxFrames = 1 << 20;

// "832" or "832 or 848": the multiples around value, within the limits.
std::string nearest_multiples(int64_t value, int64_t step) {
  const int64_t below = value / step * step;
  const int64_t above = below + step;
  if (below < step) return core::str(above);
  if (above > kMaxPixels) return core::str(std::min(below, kMaxPixels / step * step));
  return core::str(below, " or ", above);
}

void require_side(const char* name, const char* flags, int64_t value, int64_t step) {
  T2V_REQUIRE(value >= step && value <= kMaxPixels && value % step == 0, ErrorKind::kUsage, "bad ",
              name, ": ", value, " px, expected a multiple of ", step, " up to ", kMaxPixels, " (",
              flags, "); try ", nearest_multiples(std::clamp<int64_t>(value, 1, kMaxPixels), step));
}

}  // namespace

Geometry make_geometry(int64_t width, int64_t height, int64_t frames, const GeometryRules& rules) {
  require_side("width", "--size, --width", width, rules.spatial_scale * rules.patch_width);
  require_side("height", "--size, --height", height, rules.spatial_scale * rules.patch_height);
  const int64_t step = rules.temporal_scale;
  const bool valid = frames >= 1 && frames <= kMaxFrames && (frames - 1) % step == 0;
  const int64_t below = std::clamp<int64_t>((frames - 1) / step * step + 1, 1, kMaxFrames - step);
  T2V_REQUIRE(
      valid, ErrorKind::kUsage, "bad number of frames: ", frames, ", expected ", step,
      "n+1, from 1 to ", kMaxFrames / step * step + 1 - step, " (--frames); try ", below,
      frames > 1 && frames < kMaxFrames - step ? core::str(" or ", below + step) : std::string());
  Geometry g;
  g.latent_channels = rules.latent_channels;
  g.latent_frames = (frames - 1) / step + 1;
  g.latent_height = height / rules.spatial_scale;
  g.latent_width = width / rules.spatial_scale;
  g.num_tokens = g.latent_frames * (g.latent_height / rules.patch_height) *
                 (g.latent_width / rules.patch_width);
  return g;
}

int64_t frames_for_seconds(double seconds, double fps, const GeometryRules& rules) {
  T2V_REQUIRE(
      std::isfinite(seconds) && seconds > 0 && seconds * fps < static_cast<double>(kMaxFrames),
      ErrorKind::kUsage, "bad length: ", seconds, " seconds, expected more than 0 and at most ",
      static_cast<double>(kMaxFrames) / fps, " (--seconds)");
  const auto step = static_cast<double>(rules.temporal_scale);
  const double groups = std::max(0.0, std::round((seconds * fps - 1.0) / step));
  return static_cast<int64_t>(groups) * rules.temporal_scale + 1;
}

}  // namespace t2v::pipeline
