// The visible mark, by pixels: where it is, what it covers, what is refused.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>

#include "media/mark.h"
#include "media/mark_font.h"
#include "media/png_file.h"
#include "media/test_clips.h"

namespace t2v::media {
namespace {

using namespace test;

// Frames of a .rgb file, which are exact.
std::vector<uint8_t> written(const Clip& clip, const std::string& watermark,
                             const TempFolder& folder) {
  const SinkOptions options{.path = folder / "a.rgb", .watermark = watermark};
  create_media()->validate(options, clip.width, clip.height, 16);
  write_clip(clip, options);
  const std::string bytes = read_all(options.path);
  return {bytes.begin(), bytes.end()};
}

Clip flat(int width, int height, int frames, uint8_t value) {
  Clip clip{width, height, frames, {}};
  clip.rgb.assign(
      static_cast<size_t>(width) * static_cast<size_t>(height) * 3 * static_cast<size_t>(frames),
      value);
  return clip;
}

struct Box {
  int left = 1 << 30, top = 1 << 30, right = -1, bottom = -1;
  int changed = 0;
};

Box changed_box(const Clip& clip, const std::vector<uint8_t>& after, int frame) {
  Box box;
  for (int y = 0; y < clip.height; ++y) {
    for (int x = 0; x < clip.width; ++x) {
      const size_t at =
          (static_cast<size_t>(frame * clip.height + y) * static_cast<size_t>(clip.width) +
           static_cast<size_t>(x)) *
          3;
      if (std::equal(&clip.rgb[at], &clip.rgb[at] + 3, &after[at])) continue;
      ++box.changed;
      box.left = std::min(box.left, x);
      box.right = std::max(box.right, x);
      box.top = std::min(box.top, y);
      box.bottom = std::max(box.bottom, y);
    }
  }
  return box;
}

TEST_CASE("a text lies in the lower right corner of every frame, and nowhere else") {
  const TempFolder folder;
  const auto [width, height] =
      GENERATE(std::pair{64, 64}, std::pair{321, 193}, std::pair{640, 360});
  const Clip clip = flat(width, height, 3, 120);
  const auto after = written(clip, "AI video", folder);
  REQUIRE(after.size() == clip.rgb.size());
  for (int frame = 0; frame < 3; ++frame) {
    const Box box = changed_box(clip, after, frame);
    CAPTURE(width, height, frame, box.left, box.top, box.right, box.bottom);
    CHECK(box.changed > 100);
    CHECK(box.right < width);
    CHECK(box.right >= width * 9 / 10 - 4);
    CHECK(box.bottom >= height * 8 / 10);
    CHECK(box.top >= height * 7 / 10);
    CHECK(box.left > width / 10);
  }
  // White letters, dark edges.
  CHECK(*std::max_element(after.begin(), after.end()) > 220);
  CHECK(*std::min_element(after.begin(), after.end()) < 60);
}

TEST_CASE("each dot of a letter is where the font has it") {
  const Mark mark = make_mark("L", 100, 200);  // one pixel a dot
  REQUIRE(mark.width == 7);
  REQUIRE(mark.height == kGlyphRows + 2);
  const auto glyph = find_glyph('L', 0);
  REQUIRE(glyph);
  for (int row = 0; row < kGlyphRows; ++row) {
    for (int column = 0; column < kGlyphColumns; ++column) {
      const bool set = ((*glyph)[static_cast<size_t>(row)] >> (4 - column) & 1) != 0;
      const uint8_t red = mark.rgba[static_cast<size_t>((row + 1) * mark.width + column + 1) * 4];
      CHECK(red == (set ? 255 : 0));
    }
  }
}

TEST_CASE("accented Latin letters are drawn; what is not is named before work") {
  for (const std::string text :
       {"Ünïcödé ÅŁØßæœ", "čšž ğış ąęść őű ñ ç", "© 2026 – «ok» … €5", "Ațș"})
    CHECK_NOTHROW(check_mark(text));
  const TempFolder folder;
  for (const auto& [text, word] : {std::pair<std::string, std::string>{"Видео", "U+0412"},
                                   {"视频", "U+89C6"},
                                   {"a\u200b", "U+200B"},
                                   {"a\u0301\u0302", "U+0301"},
                                   {"tab\t", "U+0009"}}) {
    const std::string why = thrown_text(
        [&, t = text] {
          create_media()->validate({.path = folder / "a.png", .watermark = t}, 640, 360, 16);
        },
        ErrorKind::kUsage);
    CAPTURE(text, why);
    CHECK(why.find(word) != std::string::npos);
    CHECK(why.find("try a picture") != std::string::npos);
  }
  const std::string wide = thrown_text(
      [&] {
        create_media()->validate(
            {.path = folder / "a.png", .watermark = "a text that is much too long"}, 64, 64, 16);
      },
      ErrorKind::kUsage);
  CHECK(wide.find("does not fit") != std::string::npos);
  CHECK(folder.names().empty());
}

#ifdef T2V_PNG
TEST_CASE("a picture is scaled to a share of the width and blended by its opacity") {
  const TempFolder folder;
  // 100 x 50: left half red; t2v's own PNGs have no alpha, so all of it is opaque.
  std::vector<uint8_t> rgb;
  for (int i = 0; i < 100 * 50; ++i)
    rgb.insert(rgb.end(), {uint8_t{255}, static_cast<uint8_t>(i % 100 < 50 ? 0 : 255), uint8_t{0}});
  std::ofstream(folder / "mark.png", std::ios::binary) << make_png(rgb.data(), 100, 50, "");
  const Clip clip = flat(400, 300, 2, 10);
  const auto after = written(clip, folder / "mark.png", folder);
  const Box box = changed_box(clip, after, 1);
  CHECK(box.right - box.left + 1 == 60);  // 15 % of 400
  CHECK(box.bottom - box.top + 1 == 30);
  CHECK(box.right == 400 - 1 - 8);  // 2.5 % of 300
  const auto pixel = [&](int x, int y) {
    const uint8_t* at = &after[static_cast<size_t>((300 + y) * 400 + x) * 3];
    return std::vector<int>{at[0], at[1], at[2]};
  };
  CHECK(pixel(box.left + 5, box.top + 5) == std::vector<int>{255, 0, 0});
  CHECK(pixel(box.right - 5, box.bottom - 5) == std::vector<int>{255, 255, 0});
}

TEST_CASE("blending is exact") {
  Mark mark{.width = 1, .height = 1, .x = 1, .y = 0, .rgba = {200, 100, 0, 128}};
  std::vector<uint8_t> rgb{0, 0, 0, 100, 100, 100};
  blend_mark(mark, rgb.data(), 2);
  CHECK(rgb == std::vector<uint8_t>{0, 0, 0, 150, 100, 50});
}

TEST_CASE("pictures that cannot be read are refused before work") {
  const TempFolder folder;
  std::ofstream(folder / "text.png") << "no picture";
  for (const std::string name : {"absent.png", "text.png"}) {
    const std::string why = thrown_text(
        [&] {
          create_media()->validate({.path = folder / "a.rgb", .watermark = folder / name}, 64, 64,
                                   16);
        },
        ErrorKind::kInput);
    CAPTURE(why);
    CHECK(why.find("--watermark") != std::string::npos);
    CHECK(why.find("try") != std::string::npos);
  }
}
#endif

}  // namespace
}  // namespace t2v::media
