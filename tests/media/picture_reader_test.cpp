// Pictures and videos that users give: what is read is what was written; broken ones say so.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "media/picture_converter.h"
#include "media/test_clips.h"

namespace t2v::media {
namespace {

using namespace test;

std::unique_ptr<FrameSource> open(const std::string& path) {
  return create_media()->open_source(path);
}

// All frames, one behind the other.
std::vector<uint8_t> read_frames(const std::string& path, int64_t& count) {
  const auto source = open(path);
  std::vector<uint8_t> all, frame;
  count = 0;
  while (source->read(frame)) {
    REQUIRE(frame.size() ==
            static_cast<size_t>(source->format().width * source->format().height * 3));
    all.insert(all.end(), frame.begin(), frame.end());
    ++count;
  }
  return all;
}

int worst_difference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  REQUIRE(a.size() == b.size());
  int worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

TEST_CASE("a PNG comes back byte for byte, as one frame without a rate") {
  const TempFolder folder;
  const Clip clip = noise(37, 21, 1);
  write_clip(clip, {.path = folder / "a.png"});
  const auto source = open(folder / "a.png/00000.png");
  CHECK(source->format().width == 37);
  CHECK(source->format().height == 21);
  CHECK(source->format().fps == 0);
  std::vector<uint8_t> rgb;
  CHECK(source->read(rgb));
  CHECK(rgb == clip.rgb);
  CHECK_FALSE(source->read(rgb));
}

TEST_CASE("a video comes back, every frame, with its rate") {
  const TempFolder folder;
  const Clip clip = gradient(64, 48, 13);
  write_clip(clip, {.path = folder / "a.mp4", .crf = 0}, 12);
  CHECK(open(folder / "a.mp4")->format().fps == Approx(12));
  CHECK(open(folder / "a.mp4")->format().num_frames == 13);
  int64_t count = 0;
  const auto got = read_frames(folder / "a.mp4", count);
  CHECK(count == 13);
  CHECK(worst_difference(got, clip.rgb) <= 6);  // 4:2:0, limited range
  // Without loss of chroma, full resolution: only rounding is left.
  write_clip(clip, {.path = folder / "b.mp4", .crf = 0, .pix_fmt = "yuv444p"}, 12);
  CHECK(worst_difference(read_frames(folder / "b.mp4", count), clip.rgb) <= 2);
}

TEST_CASE("flat colours keep their value through matrix and range") {
  const TempFolder folder;
  const Clip clip = patches(16, 1);
  write_clip(clip, {.path = folder / "a.mp4", .crf = 0, .pix_fmt = "yuv444p"});
  int64_t count = 0;
  CHECK(worst_difference(read_frames(folder / "a.mp4", count), clip.rgb) <= 2);
}

TEST_CASE("what is no picture says so, with the path") {
  const TempFolder folder;
  const auto said = [&](const std::string& name) {
    return thrown_text([&] { static_cast<void>(open(folder / name)); }, ErrorKind::kInput);
  };
  CHECK(said("absent.png").find("absent.png") != std::string::npos);
  write_bytes(folder / "text.png", "this is not a picture at all, but a text of some length");
  CHECK(said("text.png").find("text.png") != std::string::npos);
  write_bytes(folder / "empty.png", "");
  CHECK(!said("empty.png").empty());
  // A list of other files is not followed.
  write_bytes(folder / "list.txt", "ffconcat version 1.0\nfile 'text.png'\n");
  CHECK(!said("list.txt").empty());
  // Cut short.
  write_clip(noise(64, 64, 1), {.path = folder / "whole.png"});
  const std::string bytes = read_all(folder / "whole.png/00000.png");
  write_bytes(folder / "cut.png", bytes.substr(0, bytes.size() / 2));
  CHECK(said("cut.png").find("cut.png") != std::string::npos);
}

TEST_CASE("pictures are turned as their display matrix says") {
  const RgbPicture picture{
      .width = 2, .height = 3, .rgb = {1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6}};
  constexpr int32_t kOne = 1 << 16;
  const auto shown = [&](int32_t a, int32_t b, int32_t c, int32_t d) {
    const int32_t matrix[9] = {a, b, 0, c, d, 0, 0, 0, 1 << 30};
    const RgbPicture out = turned(picture, orientation_of(matrix));
    std::string text = std::to_string(out.width) + ":";
    for (size_t i = 0; i < out.rgb.size(); i += 3) text += std::to_string(out.rgb[i]);
    return text;
  };
  CHECK(shown(kOne, 0, 0, kOne) == "2:123456");
  CHECK(shown(-kOne, 0, 0, -kOne) == "2:654321");                       // half a turn
  CHECK(shown(-kOne, 0, 0, kOne) == "2:214365");                        // mirrored
  CHECK(shown(0, kOne, -kOne, 0) == "3:531642");                        // a quarter clockwise
  CHECK(shown(0, -kOne, kOne, 0) == "3:246135");                        // a quarter the other way
  CHECK(shown(kOne / 2, kOne / 2, -kOne / 2, kOne / 2) == "2:123456");  // no right angle
}

}  // namespace t2v::media
