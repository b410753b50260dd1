// Animated WebP as libwebp's own decoder sees it.
#include <webp/demux.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <memory>

#include "media/test_clips.h"
#include "media/webp_file.h"

namespace t2v::media {
namespace {

using namespace test;

const std::string kRecipe = R"({"prompt":"<红> & \"狐狸\" &amp;","seed":7})";

struct Animation {
  int width = 0;
  int height = 0;
  std::vector<int> ends_ms;
  std::vector<std::vector<uint8_t>> rgb;
};

Animation decode(const std::string& bytes) {
  WebPAnimDecoderOptions options;
  REQUIRE(WebPAnimDecoderOptionsInit(&options));
  const WebPData file{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(
      WebPAnimDecoderNew(&file, &options), &WebPAnimDecoderDelete);
  REQUIRE(decoder);
  WebPAnimInfo shape;
  REQUIRE(WebPAnimDecoderGetInfo(decoder.get(), &shape));
  Animation animation{.width = static_cast<int>(shape.canvas_width),
                      .height = static_cast<int>(shape.canvas_height),
                      .ends_ms = {},
                      .rgb = {}};
  if (shape.frame_count > 1) CHECK(shape.loop_count == 0);
  while (WebPAnimDecoderHasMoreFrames(decoder.get())) {
    uint8_t* rgba = nullptr;
    int end_ms = 0;
    REQUIRE(WebPAnimDecoderGetNext(decoder.get(), &rgba, &end_ms));
    animation.ends_ms.push_back(end_ms);
    std::vector<uint8_t>& rgb = animation.rgb.emplace_back();
    for (size_t i = 0; i < size_t{shape.canvas_width} * shape.canvas_height; ++i)
      rgb.insert(rgb.end(), rgba + i * 4, rgba + i * 4 + 3);
  }
  CHECK(animation.ends_ms.size() == shape.frame_count);
  return animation;
}

double mean_error(const std::vector<uint8_t>& a, const uint8_t* b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

TEST_CASE("webp: every frame, its time and the recipe") {
  const TempFolder folder;
  const int frames = GENERATE(9, 17);
  const auto [width, height, fps] =
      GENERATE(std::tuple{64, 48, 16.0}, std::tuple{65, 47, 24.0}, std::tuple{96, 64, 7.5});
  CAPTURE(frames, width, fps);
  const Clip clip = gradient(width, height, frames);
  const SinkOptions options{.path = folder / "a.webp"};
  const auto media = create_media();
  media->validate(options, width, height, fps);
  write_clip(clip, options, fps, kRecipe);
  const std::string bytes = read_all(options.path);
  const Animation animation = decode(bytes);
  CHECK(animation.width == width);
  CHECK(animation.height == height);
  // Pictures that hardly differ are one: what is shown at the time of each frame counts.
  REQUIRE(std::abs(animation.ends_ms.back() - frames * 1000 / fps) <= 1);
  size_t shown = 0;
  for (int i = 0; i < frames; ++i) {
    while (animation.ends_ms[shown] < (i + 0.5) * 1000 / fps) ++shown;
    CHECK(mean_error(animation.rgb[shown], clip.frame(i)) < 6);
  }
  CHECK(media->read_recipe(options.path) == kRecipe);
  const std::string json = media->describe(options.path);
  CAPTURE(json);
  CHECK(json.find("\"container\": \"webp\"") != std::string::npos);
  CHECK(json.find("\"width\": " + std::to_string(width)) != std::string::npos);
  CHECK(folder.names() == std::vector<std::string>{"a.webp"});
}

TEST_CASE("webp: frames that differ are all there") {
  const TempFolder folder;
  const Clip clip = noise(64, 48, 17);
  write_clip(clip, {.path = folder / "a.webp"});
  const Animation animation = decode(read_all(folder / "a.webp"));
  REQUIRE(animation.rgb.size() == 17);
  for (int i = 0; i < 17; ++i)
    CHECK(std::abs(animation.ends_ms[static_cast<size_t>(i)] - (i + 1) * 62.5) <= 1);
}

TEST_CASE("webp: quality, losslessness, and what has no meaning") {
  const TempFolder folder;
  const Clip clip = gradient(64, 48, 5);
  write_clip(clip, {.path = folder / "exact.webp", .crf = 0});
  const Animation exact = decode(read_all(folder / "exact.webp"));
  REQUIRE(exact.rgb.size() == 5);
  for (int i = 0; i < 5; ++i)
    CHECK(mean_error(exact.rgb[static_cast<size_t>(i)], clip.frame(i)) == 0);
  write_clip(noise(64, 48, 5), {.path = folder / "fine.webp"});
  write_clip(noise(64, 48, 5), {.path = folder / "coarse.webp", .crf = 80});
  CHECK(read_all(folder / "coarse.webp").size() < read_all(folder / "fine.webp").size() / 2);
  for (const SinkOptions& wrong : {SinkOptions{.path = folder / "b.webp", .crf = 101},
                                   SinkOptions{.path = folder / "b.webp", .pix_fmt = "yuv420p"},
                                   SinkOptions{.path = folder / "b.webp", .encoder_preset = "fast"},
                                   SinkOptions{.path = folder / "b.webp", .codec = "libx264"}}) {
    const std::string text =
        thrown_text([&] { create_media()->validate(wrong, 64, 48, 16); }, ErrorKind::kUsage);
    CAPTURE(text);
    CHECK(text.find("try") != std::string::npos);
  }
}

TEST_CASE("webp: a single picture and pictures that are alike keep their time") {
  const TempFolder folder;
  write_clip(gradient(64, 48, 1), {.path = folder / "one.webp"}, 16, kRecipe);
  CHECK(decode(read_all(folder / "one.webp")).rgb.size() == 1);
  CHECK(create_media()->read_recipe(folder / "one.webp") == kRecipe);
  write_clip(patches(8, 16), {.path = folder / "still.webp"}, 16, kRecipe);
  const std::string bytes = read_all(folder / "still.webp");
  CHECK(create_media()->read_recipe(folder / "still.webp") == kRecipe);
  const WebpSummary summary = read_webp(bytes, "still.webp");
  CHECK(summary.width == 72);
  if (summary.duration_ms > 0) CHECK(summary.duration_ms == 1000);
}

TEST_CASE("webp: without metadata nothing of us; the same frames give the same bytes") {
  const TempFolder folder;
  const Clip clip = gradient(64, 48, 9);
  write_clip(clip, {.path = folder / "a.webp"}, 16, kRecipe);
  write_clip(clip, {.path = folder / "b.webp"}, 16, kRecipe);
  CHECK(read_all(folder / "a.webp") == read_all(folder / "b.webp"));
  write_clip(clip, {.path = folder / "c.webp", .metadata = false}, 16, kRecipe);
  CHECK(read_all(folder / "c.webp").find("XMP ") == std::string::npos);
  CHECK(create_media()->read_recipe(folder / "c.webp").empty());
}

TEST_CASE("webp: broken files are refused as input, never a crash") {
  const TempFolder folder;
  write_clip(gradient(32, 32, 5), {.path = folder / "a.webp"}, 16, kRecipe);
  const std::string whole = read_all(folder / "a.webp");
  const auto media = create_media();
  size_t refused = 0;
  for (size_t size = 0; size < whole.size(); size += 7) {
    std::ofstream(folder / "cut.webp", std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    const std::string text = thrown_text(
        [&] { static_cast<void>(media->describe(folder / "cut.webp")); }, ErrorKind::kInput);
    refused += text.empty() ? 0 : 1;
  }
  CHECK(refused == (whole.size() + 6) / 7);
}

}  // namespace
}  // namespace t2v::media
