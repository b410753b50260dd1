// The file itself: order of its parts, recipe, what it tells about us, the same bytes each time.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cctype>
#include <fstream>

#include "media/decoded_video.h"
#include "media/test_clips.h"

namespace t2v::media {
namespace {

using namespace test;

const std::string kRecipe =
    "{\"prompt\": \"一只红色的狐狸 \\\"quoted\\\" \\\\ 🦊\\n\", \"seed\": "
    "18446744073709551615}";

std::string long_recipe(size_t bytes) {
  std::string text = "{\"prompt\": \"";
  while (text.size() < bytes) text += "狐狸 and more; ";
  return text + "\"}";
}

bool holds(const std::string& bytes, std::string word) {
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  return std::search(bytes.begin(), bytes.end(), word.begin(), word.end(), same) != bytes.end();
}

// Points standard output elsewhere for a while.
class StdoutTo {
 public:
  explicit StdoutTo(int fd) : before_(::dup(STDOUT_FILENO)) { ::dup2(fd, STDOUT_FILENO); }
  StdoutTo(const StdoutTo&) = delete;
  StdoutTo& operator=(const StdoutTo&) = delete;
  ~StdoutTo() {
    ::dup2(before_, STDOUT_FILENO);
    ::close(before_);
  }

 private:
  int before_;
};

TEST_CASE("faststart: the index stands before the pictures") {
  const TempFolder folder;
  const std::string name = GENERATE(as<std::string>{}, "a.mp4", "a.mov");
  write_clip(gradient(64, 48, 17), {.path = folder / name}, 16, kRecipe);
  const std::string bytes = read_all(folder / name);
  REQUIRE(bytes.find("moov") != std::string::npos);
  CHECK(bytes.find("moov") < bytes.find("mdat"));
  CHECK(folder.names() == std::vector<std::string>{name});
}

TEST_CASE("recipes come back exactly") {
  const TempFolder folder;
  const std::string recipe = GENERATE(as<std::string>{}, kRecipe, long_recipe(100'000),
                                      long_recipe(1'000'000), std::string());
  const std::string name = GENERATE(as<std::string>{}, "a.mp4", "a.mov", "a.mkv", "a.webm");
  CAPTURE(name, recipe.size());
  write_clip(gradient(32, 32, 3), {.path = folder / name}, 16, recipe);
  CHECK(create_media()->read_recipe(folder / name) == recipe);
  decode_video(folder / name);
}

TEST_CASE("without metadata the file holds no word of us or of the encoder") {
  const TempFolder folder;
  const std::string name = GENERATE(as<std::string>{}, "a.mp4", "a.mov", "a.mkv", "a.webm");
  CAPTURE(name);
  write_clip(gradient(64, 48, 17), {.path = folder / name, .metadata = false}, 16, kRecipe);
  const std::string bytes = read_all(folder / name);
  for (const std::string word :
       {"t2v", "prompt", "x264", "lavc", "libvpx", "crf", "59.27", "59.37"}) {
    CAPTURE(word);
    CHECK_FALSE(holds(bytes, word));
  }
  CHECK(create_media()->read_recipe(folder / name).empty());
  const DecodedVideo video = decode_video(folder / name);
  CHECK(video.rgb.size() == 17);
  for (const std::string& key : video.metadata_keys) {
    CAPTURE(key);
    CHECK((key == "major_brand" || key == "minor_version" || key == "compatible_brands" ||
           key == "language" || key == "handler_name" || key == "vendor_id" || key == "encoder" ||
           key == "DURATION"));
  }
}

TEST_CASE("the same frames give the same bytes") {
  const TempFolder folder;
  const std::string suffix =
      GENERATE(as<std::string>{}, ".mp4", ".mov", ".mkv", ".webm", ".gif", ".y4m");
  CAPTURE(suffix);
  const Clip clip = noise(80, 48, 20);
  for (const std::string name : {"a", "b", "c"}) {
    write_clip(clip, {.path = folder / (name + suffix)}, 16, kRecipe);
  }
  CHECK(read_all(folder / ("a" + suffix)) == read_all(folder / ("b" + suffix)));
  CHECK(read_all(folder / ("a" + suffix)) == read_all(folder / ("c" + suffix)));
}

TEST_CASE("standard output: a fragmented MP4 that decodes") {
  const TempFolder folder;
  const std::string path = folder / "piped.mp4";
  {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
    const StdoutTo redirected(fd);
    ::close(fd);
    write_clip(gradient(64, 48, 17), {.path = "-"}, 16, kRecipe);
  }
  const DecodedVideo video = decode_video(path);
  CHECK(video.rgb.size() == 17);
  CHECK(video.fps_num == 16);
  CHECK(create_media()->read_recipe(path) == kRecipe);
}

TEST_CASE("standard output: full disk and closed pipe are errors, not signals") {
  const Clip clip = noise(64, 48, 20);
  std::string full, closed;
  {
    const int fd = ::open("/dev/full", O_WRONLY);
    const StdoutTo redirected(fd);
    ::close(fd);
    full = thrown_text([&] { write_clip(clip, {.path = "-"}); }, ErrorKind::kOutput);
  }
  {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    ::close(ends[0]);
    const StdoutTo redirected(ends[1]);
    ::close(ends[1]);
    closed = thrown_text([&] { write_clip(clip, {.path = "-"}); }, ErrorKind::kOutput);
  }
  CHECK(full.find("No space left") != std::string::npos);
  CHECK(closed.find("Broken pipe") != std::string::npos);
}

TEST_CASE("standard output: abort ends a write to a pipe that nobody reads") {
  const Clip clip = noise(128, 128, 20);
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  {
    const StdoutTo redirected(ends[1]);
    const auto media = create_media();
    const auto sink = media->create_sink({.path = "-", .crf = 0});
    sink->begin({.width = 128, .height = 128, .num_frames = 1000, .fps = 16, .recipe_json = ""});
    for (int i = 0; i < 20; ++i) sink->write(clip.rgb.data(), 20);
    sink->abort();
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("broken videos are refused as input, never a crash") {
  const TempFolder folder;
  write_clip(gradient(32, 32, 5), {.path = folder / "a.mp4"}, 16, kRecipe);
  const std::string whole = read_all(folder / "a.mp4");
  const auto media = create_media();
  for (size_t size = 0; size < whole.size(); size += 97) {
    std::ofstream(folder / "cut.mp4", std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    thrown_text([&] { static_cast<void>(media->read_recipe(folder / "cut.mp4")); },
                ErrorKind::kInput);
    thrown_text([&] { static_cast<void>(media->describe(folder / "cut.mp4")); }, ErrorKind::kInput);
  }
}

}  // namespace
}  // namespace t2v::media
