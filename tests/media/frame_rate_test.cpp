#include "media/frame_rate.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "t2v/error.h"

namespace t2v::media {
namespace {

struct Case {
  double fps;
  int num;
  int den;
};

TEST_CASE("frame rates become exact fractions") {
  const auto [fps, num, den] =
      GENERATE(Case{16, 16, 1}, Case{24, 24, 1}, Case{8, 8, 1}, Case{1, 1, 1}, Case{1000, 1000, 1},
               Case{12.5, 25, 2}, Case{0.5, 1, 2}, Case{0.01, 1, 100}, Case{23.976, 24000, 1001},
               Case{24000.0 / 1001, 24000, 1001}, Case{29.97, 30000, 1001},
               Case{59.94, 60000, 1001}, Case{119.88, 120000, 1001}, Case{23.98, 1199, 50},
               Case{50.0 / 3, 50, 3}, Case{16.6, 83, 5}, Case{14.985, 15000, 1001});
  const FrameRate rate = frame_rate_of(fps);
  CHECK(rate.num == num);
  CHECK(rate.den == den);
}

TEST_CASE("any double in range is met within a millionth and in bounded terms") {
  for (double fps = 0.0101; fps < 1000; fps *= 1.0371) {
    const FrameRate rate = frame_rate_of(fps);
    CHECK(rate.num > 0);
    CHECK(rate.num <= 1'000'000);
    CHECK(rate.den <= 1'000'000);
    CHECK(std::abs(static_cast<double>(rate.num) / rate.den - fps) <= 3e-6 * fps);
  }
}

TEST_CASE("impossible frame rates are refused") {
  const double fps = GENERATE(0.0, -1.0, 0.0099, 1000.5, std::numeric_limits<double>::quiet_NaN(),
                              std::numeric_limits<double>::infinity());
  CHECK_THROWS_AS(frame_rate_of(fps), Error);
}

}  // namespace
}  // namespace t2v::media
