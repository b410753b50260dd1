// Targets that cannot be written, found before work, and disks that fill up during it.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "media/test_clips.h"

namespace t2v::media {
namespace {
namespace fs = std::filesystem;
using namespace test;

void validate(const SinkOptions& options, double fps = 16) {
  create_media()->validate(options, 64, 48, fps);
}

// No file of this process may grow beyond `bytes`: a full disk without a disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

std::vector<std::string> suffixes() {
#ifdef T2V_TEST_VIDEO
  return {".mp4", ".mkv", ".webm", ".gif", ".png", ".y4m", ".rgb"};
#else
  return {".gif", ".png", ".y4m", ".rgb"};
#endif
}

TEST_CASE("suffixes") {
  const TempFolder folder;
  for (const std::string name : {"out.avi2", "out", ".mp4", "out.", "out.mp4x"}) {
    const std::string text =
        thrown_text([&] { validate({.path = folder / name}); }, ErrorKind::kUsage);
    CHECK(text.find(".mp4 .mov .mkv .webm .webp .gif .png") != std::string::npos);
  }
  CHECK_FALSE(thrown_text([&] { validate({.path = ""}); }, ErrorKind::kUsage).empty());
  CHECK_NOTHROW(validate({.path = folder / "UPPER.GIF"}));
  CHECK_NOTHROW(validate({.path = folder / "two.dots.png"}));
  CHECK(folder.names().empty());
}

TEST_CASE("folders that are absent, files in the way, NUL") {
  const TempFolder folder;
  std::ofstream(folder / "file") << "x";
  std::ofstream(folder / "file.png") << "x";
  fs::create_directory(folder / "folder.gif");
  fs::create_directory(folder / "mine.png");
  std::ofstream(folder / "mine.png/notes.txt") << "x";
  for (const std::string name :
       {"no/such/out.gif", "file/out.gif", "file.png", "folder.gif", "mine.png"}) {
    const std::string text =
        thrown_text([&] { validate({.path = folder / name}); }, ErrorKind::kOutput);
    CAPTURE(name, text);
    CHECK(text.find(folder.path()) != std::string::npos);
  }
  const std::string nul("/tmp/a\0b.gif", 12);
  CHECK_FALSE(thrown_text([&] { validate({.path = nul}); }, ErrorKind::kUsage).empty());
}

TEST_CASE("a folder without write permission") {
  if (::geteuid() == 0) return;  // root may write anywhere
  const TempFolder folder;
  fs::create_directory(folder / "locked");
  ::chmod((folder / "locked").c_str(), 0500);
  CHECK_FALSE(
      thrown_text([&] { validate({.path = folder / "locked/out.gif"}); }, ErrorKind::kOutput)
          .empty());
}

TEST_CASE("flags that a format does not know are errors, not ignored") {
  const TempFolder folder;
  const std::string path = folder / GENERATE(as<std::string>{}, "a.gif", "a.png", "a.y4m", "a.rgb");
  CHECK_FALSE(thrown_text([&] { validate({.path = path, .crf = 18}); }, ErrorKind::kUsage).empty());
  CHECK_FALSE(thrown_text([&] { validate({.path = path, .codec = "libx264"}); }, ErrorKind::kUsage)
                  .empty());
  CHECK_FALSE(thrown_text([&] { validate({.path = path, .pix_fmt = "bgr48"}); }, ErrorKind::kUsage)
                  .empty());
  CHECK_FALSE(
      thrown_text([&] { validate({.path = path, .encoder_preset = "slow"}); }, ErrorKind::kUsage)
          .empty());
}

#ifndef T2V_TEST_VIDEO
TEST_CASE("a build without FFmpeg says so") {
  const TempFolder folder;
  for (const std::string path : {folder / "a.mp4", folder / "a.webm", std::string("-")}) {
    const std::string text = thrown_text([&] { validate({.path = path}); }, ErrorKind::kUsage);
    CHECK(text.find("no FFmpeg") != std::string::npos);
  }
  CHECK(create_media()->encoders().empty());
}
#endif

TEST_CASE("limits of frame rate and size") {
  const TempFolder folder;
  CHECK_FALSE(
      thrown_text([&] { validate({.path = folder / "a.gif"}, 60); }, ErrorKind::kUsage).empty());
  CHECK_FALSE(
      thrown_text([&] { validate({.path = folder / "a.y4m"}, 0); }, ErrorKind::kUsage).empty());
  CHECK_FALSE(thrown_text([&] { create_media()->validate({.path = folder / "a.y4m"}, 0, 5, 16); },
                          ErrorKind::kUsage)
                  .empty());
}

TEST_CASE(
    "a disk that fills up: an error with the reason, the old file survives, nothing is left") {
  const Clip clip = noise(96, 64, 20);
  for (const std::string& suffix : suffixes()) {
    CAPTURE(suffix);
    const TempFolder folder;
    const std::string path = folder / ("out" + suffix);
    const bool is_folder = suffix == ".png";
    if (!is_folder) std::ofstream(path) << "old";
    std::string text;
    {
      const FileSizeLimit limit(10'000);
      text = thrown_text([&] { write_clip(clip, {.path = path}); }, ErrorKind::kOutput);
    }
    CHECK(text.find("File too large") != std::string::npos);
    if (is_folder) {
      CHECK(folder.names().empty());
    } else {
      CHECK(folder.names() == std::vector<std::string>{"out" + suffix});
      CHECK(read_all(path) == "old");
    }
  }
}

TEST_CASE("abort leaves nothing, at any time") {
  const Clip clip = noise(32, 32, 8);
  const int written = GENERATE(-1, 0, 1, 8);
  for (const std::string& suffix : suffixes()) {
    CAPTURE(suffix, written);
    const TempFolder folder;
    const auto media = create_media();
    const auto sink = media->create_sink({.path = folder / ("out" + suffix)});
    if (written >= 0)
      sink->begin({.width = 32, .height = 32, .num_frames = 8, .fps = 16, .recipe_json = "{}"});
    if (written > 0) sink->write(clip.frame(0), written);
    sink->abort();
    CHECK(folder.names().empty());
    sink->abort();
  }
}

TEST_CASE("a sink that is dropped or used again leaves no trace of the first run") {
  const Clip clip = noise(32, 32, 8);
  for (const std::string& suffix : suffixes()) {
    CAPTURE(suffix);
    const TempFolder folder;
    const VideoFormat format{
        .width = 32, .height = 32, .num_frames = 8, .fps = 16, .recipe_json = ""};
    const auto media = create_media();
    {
      const auto sink = media->create_sink({.path = folder / ("out" + suffix)});
      sink->begin(format);
      sink->write(clip.frame(0), 3);
    }
    CHECK(folder.names().empty());
    const auto sink = media->create_sink({.path = folder / ("out" + suffix)});
    sink->begin(format);
    sink->write(clip.frame(0), 3);
    sink->abort();
    sink->begin(format);
    sink->write(clip.frame(0), 8);
    sink->finish();
    sink->abort();
    CHECK(folder.names() == std::vector<std::string>{"out" + suffix});
  }
}

TEST_CASE("two writers of one name: one of them wins, whole") {
  const Clip a = noise(32, 32, 8);
  const Clip b = gradient(32, 32, 8);
  for (const std::string& suffix : suffixes()) {
    CAPTURE(suffix);
    const TempFolder folder;
    const std::string path = folder / ("out" + suffix);
    const VideoFormat format{
        .width = 32, .height = 32, .num_frames = 8, .fps = 16, .recipe_json = "{\"who\": 1}"};
    const auto media = create_media();
    const auto first = media->create_sink({.path = path});
    const auto second = media->create_sink({.path = path});
    first->begin(format);
    second->begin(format);
    for (int i = 0; i < 8; ++i) {
      first->write(a.frame(i), 1);
      second->write(b.frame(i), 1);
    }
    first->finish();
    second->finish();
    CHECK(folder.names() == std::vector<std::string>{"out" + suffix});
    if (suffix != ".rgb" && suffix != ".y4m") CHECK(media->read_recipe(path) == "{\"who\": 1}");
    write_clip(b, {.path = folder / ("alone" + suffix)}, 16, "{\"who\": 1}");
    if (suffix != ".png") CHECK(read_all(path) == read_all(folder / ("alone" + suffix)));
  }
}

}  // namespace
}  // namespace t2v::media
