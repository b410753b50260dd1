#include "media/test_clips.h"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

namespace t2v::media::test {
namespace fs = std::filesystem;
namespace {

Clip empty_clip(int width, int height, int frames) {
  Clip clip{width, height, frames, {}};
  clip.rgb.resize(static_cast<size_t>(width) * static_cast<size_t>(height) *
                  static_cast<size_t>(frames) * 3);
  return clip;
}

}  // namespace

Clip patches(int patch, int frames) {
  Clip clip = empty_clip(9 * patch, 3 * patch, frames);
  size_t at = 0;
  for (int i = 0; i < frames * clip.height; ++i) {
    for (int x = 0; x < clip.width; ++x) {
      const int number = i % clip.height / patch * 9 + x / patch;
      for (const int level : {number / 9, number / 3 % 3, number % 3}) {
        clip.rgb[at++] = static_cast<uint8_t>(level == 0 ? 0 : level == 1 ? 128 : 255);
      }
    }
  }
  return clip;
}

Clip gradient(int width, int height, int frames) {
  Clip clip = empty_clip(width, height, frames);
  size_t at = 0;
  for (int f = 0; f < frames; ++f) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        clip.rgb[at++] = static_cast<uint8_t>(std::min(255, 40 + x * 180 / std::max(1, width) + f));
        clip.rgb[at++] = static_cast<uint8_t>(std::min(255, 30 + y * 200 / std::max(1, height)));
        clip.rgb[at++] =
            static_cast<uint8_t>(std::max(0, 220 - (x + y) * 180 / (width + height) - f));
      }
    }
  }
  return clip;
}

Clip noise(int width, int height, int frames) {
  Clip clip = empty_clip(width, height, frames);
  std::mt19937 random(7);
  for (uint8_t& value : clip.rgb) value = static_cast<uint8_t>(random() & 255);
  return clip;
}

TempFolder::TempFolder() {
  std::string pattern = (fs::temp_directory_path() / "t2v-media-XXXXXX").string();
  REQUIRE(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<std::string> TempFolder::names() const {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(path_))
    found.push_back(entry.path().filename().string());
  std::sort(found.begin(), found.end());
  return found;
}

void write_clip(const Clip& clip, const SinkOptions& options, double fps,
                const std::string& recipe) {
  const auto media = create_media();
  const auto sink = media->create_sink(options);
  sink->begin({.width = clip.width,
               .height = clip.height,
               .num_frames = clip.frames,
               .fps = fps,
               .recipe_json = recipe});
  for (int i = 0; i < clip.frames; i += 4) sink->write(clip.frame(i), std::min(4, clip.frames - i));
  sink->finish();
}

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.is_open());
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string thrown_text(const std::function<void()>& call, ErrorKind kind) {
  try {
    call();
  } catch (const Error& error) {
    INFO(error.what());
    CHECK(error.kind() == kind);
    const std::string text = error.what();
    CHECK(
        std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 32 || c == 127; }));
    return text;
  }
  return "";
}

}  // namespace t2v::media::test
