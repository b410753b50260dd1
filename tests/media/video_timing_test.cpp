// Frame counts, frame rates, durations.
#include <catch2/catch.hpp>
#include <cmath>

#include "media/decoded_video.h"
#include "media/frame_rate.h"
#include "media/test_clips.h"

namespace t2v::media {
namespace {

using namespace test;

void check_timing(const std::string& path, int frames, double fps, double tolerance) {
  const DecodedVideo video = decode_video(path);
  const FrameRate rate = frame_rate_of(fps);
  REQUIRE(video.times.size() == static_cast<size_t>(frames));
  const double exact = static_cast<double>(rate.num) / rate.den;
  CHECK(static_cast<double>(video.fps_num) / video.fps_den == Approx(exact).epsilon(tolerance));
  CHECK(std::abs(video.duration - frames / exact) <=
        tolerance * frames / exact + (tolerance > 1e-6 ? 2e-3 : 1e-6));
  for (int i = 0; i < frames; ++i) {
    CHECK(std::abs(video.times[static_cast<size_t>(i)] - i / exact) <=
          (tolerance > 1e-6 ? 1e-3 : 1e-6));
  }
}

TEST_CASE("each number of frames") {
  const TempFolder folder;
  const int frames = GENERATE(1, 2, 3, 17, 81);
  CAPTURE(frames);
  write_clip(gradient(32, 32, frames), {.path = folder / "a.mp4"});
  check_timing(folder / "a.mp4", frames, 16, 1e-9);
  write_clip(gradient(32, 32, frames), {.path = folder / "a.mkv"});
  check_timing(folder / "a.mkv", frames, 16,
               frames == 1 ? 0.2 : 1e-3);  // Matroska counts milliseconds
  const std::string json = create_media()->describe(folder / "a.mp4");
  CHECK(json.find("\"frames\": " + std::to_string(frames) + ",") != std::string::npos);
}

TEST_CASE("each frame rate, exactly") {
  const TempFolder folder;
  const double fps =
      GENERATE(16.0, 24.0, 8.0, 23.976, 29.97, 12.5, 50.0 / 3, 1.0, 0.5, 60.0, 119.88, 23.98);
  CAPTURE(fps);
  const std::string name = GENERATE(as<std::string>{}, "a.mp4", "a.mov");
  write_clip(gradient(32, 32, 9), {.path = folder / name}, fps);
  check_timing(folder / name, 9, fps, 1e-9);
}

TEST_CASE("a description says it all") {
  const TempFolder folder;
  write_clip(gradient(64, 48, 24), {.path = folder / "a.mp4"}, 24);
  CHECK(create_media()->describe(folder / "a.mp4") ==
        "{\"container\": \"mp4\", \"codec\": \"h264\", \"width\": 64, \"height\": 48, \"frames\": "
        "24, \"fps\": 24, "
        "\"duration\": 1, \"pix_fmt\": \"yuv420p\", \"color_range\": \"tv\", \"color_space\": "
        "\"bt709\", "
        "\"color_primaries\": \"bt709\", \"color_transfer\": \"bt709\"}");
}

}  // namespace
}  // namespace t2v::media
