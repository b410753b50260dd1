// PNG folders, GIF and raw frames as far as they can be checked without FFmpeg.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "media/gif_blocks.h"
#include "media/png_file.h"
#include "media/test_clips.h"

namespace t2v::media {
namespace {
namespace fs = std::filesystem;
using namespace test;

const std::string kRecipe =
    "{\"prompt\": \"一只红色的狐狸 \\\"quoted\\\" 🦊\", \"seed\": 18446744073709551615}";

std::string long_recipe(size_t bytes) {
  std::string text = "{\"prompt\": \"";
  while (text.size() < bytes) text += "狐狸 and more; ";
  return text + "\"}";
}

TEST_CASE("PNG folder: whole, numbered, replaced as a whole") {
  const TempFolder folder;
  write_clip(noise(7, 5, 12), {.path = folder / "out.png"}, 16, kRecipe);
  CHECK(folder.names() == std::vector<std::string>{"out.png"});
  CHECK(fs::exists(folder / "out.png/00000.png"));
  CHECK(fs::exists(folder / "out.png/00011.png"));
  write_clip(noise(7, 5, 3), {.path = folder / "out.png"}, 16, kRecipe);
  CHECK(fs::exists(folder / "out.png/00002.png"));
  CHECK_FALSE(fs::exists(folder / "out.png/00003.png"));
  CHECK(folder.names() == std::vector<std::string>{"out.png"});
}

TEST_CASE("recipes come back from PNG and GIF") {
  const TempFolder folder;
  const std::string recipe = GENERATE(as<std::string>{}, kRecipe, long_recipe(100'000),
                                      long_recipe(1'000'000), std::string());
  const auto media = create_media();
  write_clip(gradient(8, 6, 2), {.path = folder / "a.gif"}, 16, recipe);
  write_clip(gradient(8, 6, 2), {.path = folder / "a.png"}, 16, recipe);
  CHECK(media->read_recipe(folder / "a.gif") == recipe);
  CHECK(media->read_recipe(folder / "a.png") == recipe);
  CHECK(media->read_recipe(folder / "a.png/00001.png") == recipe);
  write_clip(gradient(8, 6, 2), {.path = folder / "b.gif", .metadata = false}, 16, recipe);
  write_clip(gradient(8, 6, 2), {.path = folder / "b.png", .metadata = false}, 16, recipe);
  CHECK(media->read_recipe(folder / "b.gif").empty());
  CHECK(media->read_recipe(folder / "b.png").empty());
}

TEST_CASE("descriptions of stills") {
  const TempFolder folder;
  write_clip(gradient(8, 6, 16), {.path = folder / "a.gif"}, 16);
  write_clip(gradient(8, 6, 3), {.path = folder / "a.png"}, 16);
  const auto media = create_media();
  CHECK(media->describe(folder / "a.gif") ==
        "{\"container\": \"gif\", \"codec\": \"gif\", \"width\": 8, \"height\": 6, \"frames\": 16, "
        "\"fps\": 16, "
        "\"duration\": 1, \"pix_fmt\": \"pal8\", \"color_range\": null, \"color_space\": null, "
        "\"color_primaries\": null, \"color_transfer\": null}");
  CHECK(media->describe(folder / "a.png").find("\"frames\": 3") != std::string::npos);
}

TEST_CASE("raw frames") {
  const TempFolder folder;
  const Clip clip = noise(5, 3, 4);
  write_clip(clip, {.path = folder / "a.rgb"}, 16);
  CHECK(read_all(folder / "a.rgb") == std::string(clip.rgb.begin(), clip.rgb.end()));
  write_clip(clip, {.path = folder / "a.y4m"}, 23.976);
  const std::string y4m = read_all(folder / "a.y4m");
  const std::string header = "YUV4MPEG2 W5 H3 F24000:1001 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n";
  CHECK(y4m.starts_with(header + "FRAME\n"));
  CHECK(y4m.size() == header.size() + 4 * (6 + 15 + 2 * 3 * 2));
}

TEST_CASE("every cut of a GIF and a PNG is refused, every flipped byte is survived") {
  const Clip clip = noise(3, 2, 2);
  const std::string png = make_png(clip.frame(0), 3, 2, kRecipe);
  const TempFolder folder;
  write_clip(clip, {.path = folder / "a.gif"}, 16, kRecipe);
  const std::string gif = read_all(folder / "a.gif");
  for (size_t size = 0; size < png.size(); ++size)
    CHECK_THROWS_AS(read_png(png.substr(0, size), "a.png"), Error);
  for (size_t size = 0; size < gif.size(); ++size)
    CHECK_THROWS_AS(read_gif(gif.substr(0, size), "a.gif"), Error);
  for (size_t i = 0; i < png.size(); ++i) {
    std::string broken = png;
    broken[i] = static_cast<char>(broken[i] ^ 0x55);
    CHECK_THROWS_AS(read_png(broken, "a.png"), Error);  // each chunk has a checksum
  }
  for (size_t i = 0; i < gif.size(); ++i) {
    std::string broken = gif;
    broken[i] = static_cast<char>(broken[i] ^ 0x55);
    try {
      read_gif(broken, "a.gif");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kInput);
    }
  }
}

TEST_CASE("what is no picture is refused as input") {
  const TempFolder folder;
  std::ofstream(folder / "text.mp4") << "not a video, only words";
  std::ofstream(folder / "empty.mp4") << "";
  fs::create_directory(folder / "empty");
  const auto media = create_media();
  for (const std::string name : {"text.mp4", "empty.mp4", "empty", "absent.mp4"}) {
    CHECK_FALSE(thrown_text([&] { static_cast<void>(media->read_recipe(folder / name)); },
                            ErrorKind::kInput)
                    .empty());
    CHECK_FALSE(
        thrown_text([&] { static_cast<void>(media->describe(folder / name)); }, ErrorKind::kInput)
            .empty());
  }
}

}  // namespace
}  // namespace t2v::media
