// Flags of the video codecs: what is refused before work, with which words, and what is taken.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "media/decoded_video.h"
#include "media/encoder_plan.h"
#include "media/test_clips.h"

namespace t2v::media {
namespace {

using namespace test;

struct Refused {
  SinkOptions options;
  std::string word;  // that the message must hold
};

std::string refusal(SinkOptions options, const TempFolder& folder, int width = 64,
                    int height = 48) {
  if (options.path != "-") options.path = folder / options.path;
  return thrown_text([&] { create_media()->validate(options, width, height, 16); },
                     ErrorKind::kUsage);
}

TEST_CASE("flags that cannot work are refused before work") {
  const TempFolder folder;
  const std::vector<Refused> cases{
      {{.path = "a.mp4", .codec = "nonsense"}, "--codec"},
      {{.path = "a.mp4", .codec = "aac"}, "--codec"},
      {{.path = "a.mp4", .codec = "a\x1b[31m\nb"}, "--codec"},
      {{.path = "a.webm", .codec = "libx264"}, "webm"},
      {{.path = "a.mp4", .codec = "gif"}, "mp4"},
      {{.path = "a.mp4", .crf = -1}, "--crf"},
      {{.path = "a.mp4", .crf = 52}, "--crf"},
      {{.path = "a.webm", .crf = 64}, "--crf"},
      {{.path = "a.mkv", .codec = "ffv1", .crf = 18}, "--crf"},
      {{.path = "a.mp4", .pix_fmt = "nonsense"}, "--pix-fmt"},
      {{.path = "a.mp4", .pix_fmt = "rgb24"}, "yuv420p"},
      {{.path = "a.mp4", .pix_fmt = "vaapi"}, "--pix-fmt"},
      {{.path = "a.mp4", .encoder_preset = "nonsense"}, "--encoder-preset"},
      {{.path = "a.webm", .encoder_preset = "slow"}, "--encoder-preset"},
      {{.path = "-", .codec = "nonsense"}, "--codec"},
  };
  for (const Refused& refused : cases) {
    const std::string text = refusal(refused.options, folder);
    CAPTURE(text, refused.word);
    CHECK(text.find(refused.word) != std::string::npos);
    CHECK(text.find("try") != std::string::npos);
  }
  CHECK(folder.names().empty());
}

TEST_CASE("the encoders of GPUs: flags are checked first, then whether there is a GPU") {
  const TempFolder folder;
  for (const std::string codec : {"h264_nvenc", "hevc_nvenc"}) {
    if (!avcodec_find_encoder_by_name(codec.c_str())) continue;  // a libavcodec without NVENC
    const std::string quality =
        refusal({.path = "a.mp4", .codec = codec, .crf = 0}, folder, 256, 256);
    CHECK(quality.find("1 (best) to 51 (--crf)") != std::string::npos);
    const std::string preset =
        refusal({.path = "a.mp4", .codec = codec, .encoder_preset = "slow"}, folder, 256, 256);
    CHECK(preset.find("p1 (fastest) to p7") != std::string::npos);
    const auto plan = plan_encoder({.path = "a.mp4", .codec = codec, .crf = 30}, false, false);
    const std::vector<std::pair<std::string, std::string>> expected{
        {"preset", "p5"}, {"tune", "hq"}, {"rc", "vbr"}, {"cq", "30"}, {"b", "0"}, {"bf", "0"}};
    CHECK(plan.options == expected);
    CHECK(plan.pix_fmt == AV_PIX_FMT_YUV420P);
    const SinkOptions options{.path = folder / "a.mp4", .codec = codec};
    if (std::filesystem::exists("/dev/nvidiactl")) {
      const Clip clip = gradient(256, 256, 9);
      write_clip(clip, options);
      CHECK(decode_video(options.path).rgb.size() == 9);
      continue;
    }
    const std::string device =
        thrown_text([&] { create_media()->validate(options, 256, 256, 16); }, ErrorKind::kDevice);
    CAPTURE(device);
    CHECK(device.find("try --codec libx264") != std::string::npos);
    CHECK(folder.names().empty());
  }
}

TEST_CASE("an odd size is refused only where it was made impossible by hand") {
  const TempFolder folder;
  CHECK(refusal({.path = "a.mp4", .pix_fmt = "yuv420p"}, folder, 65, 48).find("yuv444p") !=
        std::string::npos);
  CHECK(refusal({.path = "a.mp4", .pix_fmt = "yuv422p"}, folder, 64, 47).empty());
  CHECK(refusal({.path = "a.mp4"}, folder, 65, 47).empty());
}

TEST_CASE("codecs and presets that are taken") {
  const TempFolder folder;
  const std::string codec =
      GENERATE(as<std::string>{}, "libx264", "h264", "libx265", "mpeg4", "libvpx-vp9", "ffv1");
  CAPTURE(codec);
  const auto media = create_media();
  const SinkOptions options{.path = folder / "a.mkv", .codec = codec};
  media->validate(options);
  media->validate(options, 64, 48, 16);
  write_clip(gradient(64, 48, 9), options);
  CHECK(decode_video(options.path).rgb.size() == 9);
}

TEST_CASE("quality and preset reach the encoder") {
  const TempFolder folder;
  const Clip clip = noise(64, 64, 5);
  write_clip(clip, {.path = folder / "default.mp4"});
  write_clip(clip, {.path = folder / "18.mp4", .crf = 18});
  write_clip(clip, {.path = folder / "40.mp4", .crf = 40});
  write_clip(clip, {.path = folder / "fast.mp4", .encoder_preset = "ultrafast"});
  CHECK(read_all(folder / "default.mp4") == read_all(folder / "18.mp4"));
  CHECK(read_all(folder / "40.mp4").size() < read_all(folder / "18.mp4").size() / 2);
  CHECK(read_all(folder / "fast.mp4") != read_all(folder / "18.mp4"));
}

TEST_CASE("the list of encoders names what the defaults need") {
  const std::vector<EncoderName> found = create_media()->encoders();
  REQUIRE(found.size() > 3);
  CHECK(found.front().name == "libx264");
  CHECK(std::any_of(found.begin(), found.end(),
                    [](const EncoderName& e) { return e.name == "libvpx-vp9"; }));
}

TEST_CASE("validation leaves no file") {
  const TempFolder folder;
  create_media()->validate({.path = folder / "a.mp4"}, 64, 48, 16);
  CHECK(folder.names().empty());
}

}  // namespace
}  // namespace t2v::media
