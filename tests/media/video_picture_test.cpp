// What a decoder shows: colours, sizes, tags.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>

#include "media/decoded_video.h"
#include "media/test_clips.h"

namespace t2v::media {
namespace {

using namespace test;

// Largest difference inside the patches, margin pixels away from their edges.
int worst_in_patches(const Clip& clip, const DecodedVideo& video, int patch, int margin) {
  int worst = 0;
  for (int f = 0; f < clip.frames; ++f) {
    for (int y = 0; y < clip.height; ++y) {
      for (int x = 0; x < clip.width; ++x) {
        const int inside_x = std::min(x % patch, patch - 1 - x % patch);
        const int inside_y = std::min(y % patch, patch - 1 - y % patch);
        if (std::min(inside_x, inside_y) < margin) continue;
        for (int c = 0; c < 3; ++c) {
          const auto at = static_cast<size_t>((y * clip.width + x) * 3 + c);
          worst = std::max(worst, std::abs(clip.frame(f)[at] - video.rgb[static_cast<size_t>(f)][at]));
        }
      }
    }
  }
  return worst;
}

// Mean absolute difference and mean difference over all pixels.
std::pair<double, double> mean_difference(const Clip& clip, const DecodedVideo& video) {
  double absolute = 0;
  double bias = 0;
  const size_t size = clip.rgb.size() / static_cast<size_t>(clip.frames);
  for (int f = 0; f < clip.frames; ++f) {
    for (size_t i = 0; i < size; ++i) {
      const int difference = video.rgb[static_cast<size_t>(f)][i] - clip.frame(f)[i];
      absolute += std::abs(difference);
      bias += difference;
    }
  }
  const auto count = static_cast<double>(clip.rgb.size());
  return {absolute / count, bias / count};
}

TEST_CASE("default settings: flat patches of a test pattern come back within 2/255") {
  const TempFolder folder;
  const std::string name = GENERATE(as<std::string>{}, "a.mp4", "a.mov", "a.mkv", "a.webm");
  const Clip clip = patches(32, 9);
  write_clip(clip, {.path = folder / name});
  const DecodedVideo video = decode_video(folder / name);
  CAPTURE(name);
  REQUIRE(video.rgb.size() == 9);
  CHECK(worst_in_patches(clip, video, 32, 8) <= 2);
}

TEST_CASE("gradients: no bias, small differences") {
  const TempFolder folder;
  const Clip clip = gradient(160, 96, 9);
  write_clip(clip, {.path = folder / "a.mp4"});
  const auto [absolute, bias] = mean_difference(clip, decode_video(folder / "a.mp4"));
  CHECK(absolute < 2);
  CHECK(std::abs(bias) < 0.3);
  write_clip(clip, {.path = folder / "b.mp4", .crf = 1});
  const auto [fine, fine_bias] = mean_difference(clip, decode_video(folder / "b.mp4"));
  CHECK(fine < 1);
  CHECK(std::abs(fine_bias) < 0.3);
}

TEST_CASE("tags say BT.709, limited range, yuv420p") {
  const TempFolder folder;
  const std::string name = GENERATE(as<std::string>{}, "a.mp4", "a.mov", "a.mkv", "a.webm");
  write_clip(gradient(64, 48, 3), {.path = folder / name});
  const DecodedVideo video = decode_video(folder / name);
  CAPTURE(name);
  CHECK(video.pix_fmt == AV_PIX_FMT_YUV420P);
  CHECK(video.color_space == AVCOL_SPC_BT709);
  CHECK(video.color_primaries == AVCOL_PRI_BT709);
  CHECK(video.color_transfer == AVCOL_TRC_BT709);
  CHECK(video.color_range == AVCOL_RANGE_MPEG);
}

TEST_CASE("other pixel formats keep the colours") {
  const TempFolder folder;
  const auto [format, codec] = GENERATE(std::pair{"yuv444p", "libx264"}, std::pair{"yuv422p", "libx264"},
                                        std::pair{"yuv420p10le", "libx264"}, std::pair{"yuvj420p", "libx264"},
                                        std::pair{"nv12", "libx264"}, std::pair{"bgr0", "libx264rgb"},
                                        std::pair{"yuv420p", "ffv1"}, std::pair{"bgr0", "ffv1"});
  const Clip clip = patches(32, 3);
  CAPTURE(format, codec);
  write_clip(clip, {.path = folder / "a.mkv", .codec = codec, .pix_fmt = format});
  CHECK(worst_in_patches(clip, decode_video(folder / "a.mkv"), 32, 8) <= 2);
}

TEST_CASE("any size decodes to exactly that size") {
  const TempFolder folder;
  const auto [width, height] = GENERATE(std::pair{1, 1}, std::pair{2, 2}, std::pair{1, 47}, std::pair{65, 1},
                                        std::pair{16, 15}, std::pair{15, 16}, std::pair{65, 47}, std::pair{64, 64});
  for (const std::string name : {"a.mp4", "a.mkv", "a.webm"}) {
    CAPTURE(name, width, height);
    const Clip clip = gradient(width, height, 5);
    create_media()->validate({.path = folder / name}, width, height, 16);
    write_clip(clip, {.path = folder / name});
    const DecodedVideo video = decode_video(folder / name);
    CHECK(video.width == width);
    CHECK(video.height == height);
    REQUIRE(video.rgb.size() == 5);
    if (width >= 64 && height >= 47) CHECK(mean_difference(clip, video).first < 4);  // else too steep for 4:2:0
  }
}

}  // namespace
}  // namespace t2v::media
