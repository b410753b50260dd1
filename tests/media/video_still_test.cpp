// GIF, PNG and Y4M through libavcodec's decoders.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>

#include "media/av_handle.h"
#include "media/decoded_video.h"
#include "media/gif_blocks.h"
#include "media/test_clips.h"

namespace t2v::media {
namespace {

using namespace test;

int worst_difference(const Clip& clip, const DecodedVideo& video) {
  int worst = 0;
  const size_t size = clip.rgb.size() / static_cast<size_t>(clip.frames);
  REQUIRE(video.rgb.size() == static_cast<size_t>(clip.frames));
  for (int f = 0; f < clip.frames; ++f) {
    for (size_t i = 0; i < size; ++i) {
      worst = std::max(worst, std::abs(clip.frame(f)[i] - video.rgb[static_cast<size_t>(f)][i]));
    }
  }
  return worst;
}

TEST_CASE("GIF: few colours are exact, frame by frame") {
  const TempFolder folder;
  Clip clip = patches(7, 6);
  for (int f = 0; f < 6; ++f) {  // something that moves
    uint8_t* frame = const_cast<uint8_t*>(clip.frame(f));
    std::fill_n(frame + (f * clip.width + 3 * f) * 3, 30, uint8_t{17});
  }
  write_clip(clip, {.path = folder / "a.gif"}, 16);
  const DecodedVideo video = decode_video(folder / "a.gif");
  CHECK(worst_difference(clip, video) == 0);
}

TEST_CASE("GIF: a still clip, one pixel, random pictures that fill the code table") {
  const TempFolder folder;
  const auto [width, height] = GENERATE(std::pair{1, 1}, std::pair{3, 200}, std::pair{150, 150});
  Clip clip = noise(width, height, 3);
  // 200 grey levels: exact, and without any order.
  for (size_t i = 0; i < clip.rgb.size(); i += 3)
    clip.rgb[i + 1] = clip.rgb[i + 2] = clip.rgb[i] = static_cast<uint8_t>(clip.rgb[i] % 200);
  write_clip(clip, {.path = folder / "a.gif"}, 10);
  CHECK(worst_difference(clip, decode_video(folder / "a.gif")) == 0);
}

TEST_CASE("GIF: many colours stay near") {
  const TempFolder folder;
  const Clip clip = gradient(96, 64, 4);
  write_clip(clip, {.path = folder / "a.gif"}, 10);
  CHECK(worst_difference(clip, decode_video(folder / "a.gif")) <= 16);
}

TEST_CASE("GIF: the clock does not drift") {
  const TempFolder folder;
  const double fps = GENERATE(16.0, 24.0, 8.0, 23.976, 30.0);
  write_clip(gradient(8, 8, 81), {.path = folder / "a.gif"}, fps);
  const GifSummary gif = read_gif(read_all(folder / "a.gif"), "a.gif");
  CHECK(gif.frames == 81);
  CHECK(std::abs(static_cast<double>(gif.duration_cs) / 100 - 81 / fps) <= 0.0051);
}

TEST_CASE("PNG: every frame exactly, at any size") {
  const TempFolder folder;
  const auto [width, height] = GENERATE(std::pair{1, 1}, std::pair{65, 47}, std::pair{3, 90});
  const bool smooth = GENERATE(true, false);
  const Clip clip = smooth ? gradient(width, height, 3) : noise(width, height, 3);
  write_clip(clip, {.path = folder / "a.png"}, 16, "{\"prompt\": \"狐狸\"}");
  for (int f = 0; f < 3; ++f) {
    const DecodedVideo picture = decode_video(folder / ("a.png/0000" + std::to_string(f) + ".png"));
    REQUIRE(picture.rgb.size() == 1);
    CHECK(std::equal(picture.rgb[0].begin(), picture.rgb[0].end(), clip.frame(f)));
  }
}

TEST_CASE("Y4M decodes with the right colours and rate") {
  const TempFolder folder;
  const Clip clip = patches(9, 4);
  write_clip(clip, {.path = folder / "a.y4m", .pix_fmt = "yuv444p"}, 23.976);
  const DecodedVideo video = decode_video(folder / "a.y4m");
  CHECK(worst_difference(clip, video) <= 2);
  CHECK(video.fps_num == 24000);
  CHECK(video.fps_den == 1001);
}

}  // namespace
}  // namespace t2v::media
