// Every container with every codec it holds: all frames decoded, counted, timed; the recipe read
// back. The same with many sizes, lengths and rates under the tag [.slow].
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "media/decoded_video.h"
#include "media/encoder_plan.h"
#include "media/test_clips.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

namespace t2v::media {
namespace {

using namespace test;

struct Combination {
  std::string suffix;
  std::string codec;
  std::string pix_fmt;
};

const std::vector<Combination> kCombinations{
    {".mp4", "libx264", "yuv420p10le"},    {".mp4", "libx264", "yuv422p10le"},
    {".mp4", "libx264", "yuv444p"},        {".mp4", "libx265", "yuv420p"},
    {".mp4", "libx265", "yuv420p10le"},    {".mp4", "libx265", "yuv444p"},
    {".mp4", "libsvtav1", "yuv420p"},      {".mp4", "libsvtav1", "yuv420p10le"},
    {".mp4", "libaom-av1", "yuv420p10le"}, {".mp4", "libvpx-vp9", "yuv420p"},
    {".mov", "libx264", "yuv420p"},        {".mov", "libx265", "yuv422p10le"},
    {".mkv", "libx264", "yuv444p10le"},    {".mkv", "libx265", "yuv420p10le"},
    {".mkv", "libsvtav1", "yuv420p10le"},  {".mkv", "libvpx-vp9", "yuv420p10le"},
    {".mkv", "ffv1", "yuv422p10le"},       {".webm", "libvpx-vp9", "yuv420p10le"},
    {".webm", "libvpx-vp9", "yuv444p"},    {".webm", "libsvtav1", "yuv420p"},
    {".webm", "libaom-av1", "yuv444p"}};

const std::string kRecipe = R"({"prompt":"a red circle","seed":7})";

bool is_offered(const Combination& wanted) {
  return avcodec_find_encoder_by_name(wanted.codec.c_str()) != nullptr;
}

double mean_error(const Clip& clip, const DecodedVideo& video) {
  double sum = 0;
  for (int i = 0; i < clip.frames; ++i) {
    const auto& frame = video.rgb[static_cast<size_t>(i)];
    for (size_t at = 0; at < frame.size(); ++at) sum += std::abs(frame[at] - clip.frame(i)[at]);
  }
  return sum / static_cast<double>(clip.rgb.size());
}

struct Timing {
  int width = 96;
  int height = 64;
  int frames = 9;
  double fps = 16;
};

void check_file(const Combination& wanted, const Timing& timing) {
  CAPTURE(wanted.suffix, wanted.codec, wanted.pix_fmt, timing.width, timing.height, timing.frames,
          timing.fps);
  const TempFolder folder;
  const Clip clip = gradient(timing.width, timing.height, timing.frames);
  const SinkOptions options{.path = folder / ("a" + wanted.suffix),
                            .codec = wanted.codec,
                            .pix_fmt = wanted.pix_fmt,
                            .encoder_preset = wanted.codec == "libsvtav1" ? "10" : ""};
  const auto media = create_media();
  media->validate(options, timing.width, timing.height, timing.fps);
  write_clip(clip, options, timing.fps, kRecipe);
  const DecodedVideo video = decode_video(options.path);
  REQUIRE(video.rgb.size() == static_cast<size_t>(timing.frames));
  CHECK(video.width == timing.width);
  CHECK(video.height == timing.height);
  CHECK(video.pix_fmt == av_get_pix_fmt(wanted.pix_fmt.c_str()));
  const double rate = static_cast<double>(video.fps_num) / video.fps_den;
  // Matroska counts in milliseconds.
  const double slack = wanted.suffix == ".mkv" || wanted.suffix == ".webm" ? 1.1e-3 : 1e-6;
  if (timing.frames > 1) CHECK(std::abs(rate - timing.fps) < 0.02 * timing.fps);
  CHECK(std::abs(video.duration - timing.frames / timing.fps) < slack);
  for (size_t i = 0; i < video.times.size(); ++i)
    CHECK(std::abs(video.times[i] - static_cast<double>(i) / timing.fps) < slack);
  CHECK(mean_error(clip, video) < 4);
  const std::string recipe = media->read_recipe(options.path);
  CHECK(recipe.starts_with(kRecipe.substr(0, kRecipe.size() - 1) + ",\"codec\": "));
  const std::string bytes = read_all(options.path);
  if (wanted.suffix == ".mp4" || wanted.suffix == ".mov")
    CHECK(bytes.find("moov") < bytes.find("mdat"));
  if (wanted.codec == "libx265" && slack < 1e-3) CHECK(bytes.find("hvc1") != std::string::npos);
}

TEST_CASE("each codec in each container that holds it") {
  for (const Combination& wanted : kCombinations) {
    if (is_offered(wanted)) check_file(wanted, {});
  }
}

TEST_CASE("each codec: the same frames give the same bytes") {
  const std::string codec = GENERATE(as<std::string>{}, "libx265", "libsvtav1", "libaom-av1");
  if (!avcodec_find_encoder_by_name(codec.c_str())) return;
  CAPTURE(codec);
  const TempFolder folder;
  const Clip clip = gradient(128, 64, 17);
  for (const std::string name : {"a.mkv", "b.mkv"})
    write_clip(clip, {.path = folder / name, .codec = codec});
  CHECK(read_all(folder / "a.mkv") == read_all(folder / "b.mkv"));
}

TEST_CASE("H.265 clips shorter than its delay, one bit depth after the other") {
  for (const int frames : {1, 2, 3, 1, 2, 3}) {
    for (const std::string pix_fmt : {"yuv420p", "yuv420p10le"}) {
      if (avcodec_find_encoder_by_name("libx265"))
        check_file({".mp4", "libx265", pix_fmt}, {.frames = frames});
    }
  }
}

TEST_CASE("sizes, lengths and rates of each codec", "[.slow]") {
  const std::vector<Timing> timings{{64, 64, 1, 16},
                                    {66, 98, 2, 24},
                                    {128, 72, 81, 16},
                                    {320, 192, 33, 30},
                                    {832, 480, 17, 8},
                                    {96, 64, 241, 24000.0 / 1001},
                                    {1280, 720, 5, 60000.0 / 1001}};
  for (const Combination& wanted : kCombinations) {
    if (!is_offered(wanted)) continue;
    for (const Timing& timing : timings) check_file(wanted, timing);
  }
}

TEST_CASE("a codec that the container cannot hold is refused with those it can") {
  const TempFolder folder;
  const auto refusal = [&](const std::string& name, const std::string& codec) {
    return thrown_text(
        [&] { create_media()->validate({.path = folder / name, .codec = codec}, 64, 64, 16); },
        ErrorKind::kUsage);
  };
  const std::string webm = refusal("a.webm", "libx264");
  CAPTURE(webm);
  CHECK(webm.find("libvpx-vp9") != std::string::npos);
  CHECK(webm.find("try one of: libx264") == std::string::npos);
  const std::string mp4 = refusal("a.mp4", "ffv1");
  CAPTURE(mp4);
  CHECK(mp4.find("try one of: libx264 libx265") != std::string::npos);
  CHECK(refusal("a.webp", "libx264").find("webp") != std::string::npos);
  CHECK(folder.names().empty());
}

TEST_CASE("presets of the encoders that count them") {
  const TempFolder folder;
  const auto media = create_media();
  media->validate({.path = folder / "a.webm", .encoder_preset = "8"}, 64, 64, 16);
  const std::string wrong = thrown_text(
      [&] { media->validate({.path = folder / "a.webm", .encoder_preset = "9"}, 64, 64, 16); },
      ErrorKind::kUsage);
  CHECK(wrong.find("0 (best) to 8 (fastest)") != std::string::npos);
}

TEST_CASE("output flags that are not the defaults join the recipe") {
  const TempFolder folder;
  const auto recipe = [&](SinkOptions options) {
    options.path = folder / "a.mp4";
    write_clip(gradient(64, 64, 2), options, 16, kRecipe);
    return create_media()->read_recipe(options.path);
  };
  CHECK(recipe({}) == kRecipe);
  CHECK(recipe({.crf = 30, .encoder_preset = "fast", .watermark = "t2v \"x\""}) ==
        R"({"prompt":"a red circle","seed":7,"crf": 30, "encoder_preset": "fast", )"
        R"("watermark": "t2v \"x\""})");
  CHECK(recipe({.metadata = false}).empty());
}

}  // namespace
}  // namespace t2v::media
