// What a decoder shows: colours, sizes, tags.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>

#include "media/decoded_video.h"
#include "media/test_clips.h"

namespace t2v::media {
namespace {

using namespace test;

struct PatchDifference {
  int worst = 0;          // of any pixel at least 8 pixels inside a patch of 32
  double beyond_two = 0;  // share of those samples that are more than 2 off
  double of_mean = 0;     // largest difference of a patch's mean colour
};

PatchDifference compare_patches(const Clip& clip, const DecodedVideo& video) {
  constexpr int kPatch = 32;
  constexpr int kMargin = 8;
  constexpr int kSide = kPatch - 2 * kMargin;
  PatchDifference result;
  std::vector<double> sums(static_cast<size_t>(clip.frames) * 27 * 3);
  int64_t beyond = 0, samples = 0;
  for (int f = 0; f < clip.frames; ++f) {
    const std::vector<uint8_t>& shown = video.rgb[static_cast<size_t>(f)];
    for (int y = 0; y < clip.height; ++y) {
      for (int x = 0; x < clip.width; ++x) {
        if (x % kPatch < kMargin || x % kPatch >= kPatch - kMargin) continue;
        if (y % kPatch < kMargin || y % kPatch >= kPatch - kMargin) continue;
        const int patch = f * 27 + y / kPatch * 9 + x / kPatch;
        for (int c = 0; c < 3; ++c, ++samples) {
          const auto at = static_cast<size_t>((y * clip.width + x) * 3 + c);
          const int difference = shown[at] - clip.frame(f)[at];
          sums[static_cast<size_t>(patch * 3 + c)] += difference;
          result.worst = std::max(result.worst, std::abs(difference));
          if (std::abs(difference) > 2) ++beyond;
        }
      }
    }
  }
  for (const double sum : sums)
    result.of_mean = std::max(result.of_mean, std::abs(sum) / (kSide * kSide));
  result.beyond_two = static_cast<double>(beyond) / static_cast<double>(samples);
  return result;
}

void check_patches(const Clip& clip, const std::string& path) {
  const DecodedVideo video = decode_video(path);
  REQUIRE(video.rgb.size() == static_cast<size_t>(clip.frames));
  const PatchDifference difference = compare_patches(clip, video);
  CHECK(difference.of_mean <= 2);
  CHECK(difference.worst <= 3);
  CHECK(difference.beyond_two <= 0.005);
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
  const int frames = GENERATE(1, 3, 9, 17);
  CAPTURE(name, frames);
  const Clip clip = patches(32, frames);
  write_clip(clip, {.path = folder / name});
  check_patches(clip, folder / name);
}

TEST_CASE("negative control: a pattern that is 4 off is noticed") {
  const TempFolder folder;
  Clip clip = patches(32, 2);
  write_clip(clip, {.path = folder / "a.mp4"});
  for (uint8_t& value : clip.rgb) value = static_cast<uint8_t>(value < 128 ? value + 4 : value - 4);
  CHECK(compare_patches(clip, decode_video(folder / "a.mp4")).of_mean > 2);
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
  const auto [format, codec] =
      GENERATE(std::pair{"yuv444p", "libx264"}, std::pair{"yuv422p", "libx264"},
               std::pair{"yuv420p10le", "libx264"}, std::pair{"yuvj420p", "libx264"},
               std::pair{"nv12", "libx264"}, std::pair{"bgr0", "libx264rgb"},
               std::pair{"yuv420p", "ffv1"}, std::pair{"bgr0", "ffv1"});
  const Clip clip = patches(32, 3);
  CAPTURE(format, codec);
  write_clip(clip, {.path = folder / "a.mkv", .codec = codec, .pix_fmt = format});
  check_patches(clip, folder / "a.mkv");
}

TEST_CASE("any size decodes to exactly that size") {
  const TempFolder folder;
  const auto [width, height] =
      GENERATE(std::pair{1, 1}, std::pair{2, 2}, std::pair{1, 47}, std::pair{65, 1},
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
    if (width >= 64 && height >= 47)
      CHECK(mean_difference(clip, video).first < 4);  // else too steep for 4:2:0
  }
}

}  // namespace
}  // namespace t2v::media
