#include "media/mark.h"

#include <utf8proc.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>

#include "core/check.h"
#include "core/escape.h"
#include "media/mark_font.h"

namespace t2v::media {
namespace {

constexpr double kMargin = 0.025;        // of the frame's shorter side
constexpr double kCapital = 0.035;       // height of a capital, of the frame's height
constexpr double kPictureWidth = 0.15;   // of the frame's width
constexpr double kPictureHeight = 0.25;  // of the frame's height, at most
constexpr size_t kMaxLetters = 200;
constexpr uint8_t kTextOpacity = 216;
constexpr uint8_t kOutlineOpacity = 144;

std::string shown(int32_t code_point) {
  utf8proc_uint8_t bytes[4] = {};
  const auto size = utf8proc_encode_char(code_point, bytes);
  char hexadecimal[16];
  std::snprintf(hexadecimal, sizeof hexadecimal, "U+%04X", static_cast<unsigned>(code_point));
  return core::str("'",
                   core::escape_control(std::string(reinterpret_cast<const char*>(bytes),
                                                    static_cast<size_t>(size))),
                   "' (", hexadecimal, ")");
}

// Letters with their accents apart from them.
std::vector<int32_t> decomposed(const std::string& text) {
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &out,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, &std::free);
  T2V_REQUIRE(size >= 0, ErrorKind::kUsage, "watermark is not valid UTF-8: '",
              core::escape_control(text), "' (--watermark); try plain letters");
  std::vector<int32_t> points;
  for (utf8proc_ssize_t at = 0; at < size;) {
    utf8proc_int32_t point = 0;
    at += utf8proc_iterate(out + at, size - at, &point);
    points.push_back(point);
  }
  return points;
}

bool is_accent(int32_t point) {
  const utf8proc_category_t category = utf8proc_category(point);
  return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

std::vector<Glyph> glyphs_of(const std::string& text) {
  const std::vector<int32_t> points = decomposed(text);
  std::vector<Glyph> glyphs;
  for (size_t i = 0; i < points.size(); ++i) {
    const int32_t letter = points[i];
    const bool accented = i + 1 < points.size() && is_accent(points[i + 1]);
    const auto glyph = find_glyph(letter, accented ? points[++i] : 0);
    const bool drawn = glyph && (i + 1 == points.size() || !is_accent(points[i + 1]));
    T2V_REQUIRE(drawn, ErrorKind::kUsage, "watermark cannot be drawn: the built-in font has no ",
                shown(drawn || !accented ? letter : points[i]), accented ? " on its letter" : "",
                ", it knows Latin letters (--watermark); try a picture, --watermark mark.png");
    glyphs.push_back(*glyph);
  }
  T2V_REQUIRE(glyphs.size() <= kMaxLetters, ErrorKind::kUsage,
              "watermark is too long: ", glyphs.size(), " letters, at most ", kMaxLetters,
              " (--watermark); try fewer");
  return glyphs;
}

// Whether a font pixel is set, outside too.
bool is_set(const std::vector<Glyph>& glyphs, int column, int row) {
  constexpr int kPitch = kGlyphColumns + 1;
  if (row < 0 || row >= kGlyphRows || column < 0) return false;
  const auto index = static_cast<size_t>(column / kPitch);
  const int within = column % kPitch;
  if (index >= glyphs.size() || within >= kGlyphColumns) return false;
  return (glyphs[index][static_cast<size_t>(row)] >> (kGlyphColumns - 1 - within) & 1) != 0;
}

bool has_set_neighbour(const std::vector<Glyph>& glyphs, int column, int row) {
  for (int dy = -1; dy <= 1; ++dy) {
    for (int dx = -1; dx <= 1; ++dx) {
      if (is_set(glyphs, column + dx, row + dy)) return true;
    }
  }
  return false;
}

// White letters with a dark edge of one font pixel; scale: pixels of the frame for one of the font.
Mark draw_text(const std::vector<Glyph>& glyphs, int scale) {
  const int columns = static_cast<int>(glyphs.size()) * (kGlyphColumns + 1) + 1;
  const int rows = kGlyphRows + 2;
  Mark mark{.width = columns * scale, .height = rows * scale, .x = 0, .y = 0, .rgba = {}};
  mark.rgba.resize(static_cast<size_t>(mark.width) * static_cast<size_t>(mark.height) * 4);
  for (int y = 0; y < mark.height; ++y) {
    for (int x = 0; x < mark.width; ++x) {
      const int column = x / scale - 1;
      const int row = y / scale - 1;
      const bool letter = is_set(glyphs, column, row);
      const bool edge = !letter && has_set_neighbour(glyphs, column, row);
      uint8_t* pixel = &mark.rgba[static_cast<size_t>(y * mark.width + x) * 4];
      std::fill_n(pixel, 3, letter ? uint8_t{255} : uint8_t{0});
      pixel[3] = letter ? kTextOpacity : edge ? kOutlineOpacity : uint8_t{0};
    }
  }
  return mark;
}

// How much of each source pixel a target pixel covers, along one side.
struct Span {
  int first = 0;
  std::vector<double> weights;  // sum 1
};

std::vector<Span> spans_of(int source, int target) {
  std::vector<Span> spans;
  const double step = static_cast<double>(source) / target;
  for (int i = 0; i < target; ++i) {
    const double from = i * step;
    const double to = std::min((i + 1) * step, static_cast<double>(source));
    Span span{.first = std::min(static_cast<int>(from), source - 1), .weights = {}};
    for (int at = span.first; at < source && (at < to || at == span.first); ++at) {
      const double covered = std::min(to, at + 1.0) - std::max(from, static_cast<double>(at));
      span.weights.push_back(std::max(covered, 0.0) / step);
    }
    spans.push_back(std::move(span));
  }
  return spans;
}

// Mean over the area of each pixel, colours weighed by their opacity.
Mark resized(const Mark& source, int width, int height) {
  Mark mark{.width = width, .height = height, .x = 0, .y = 0, .rgba = {}};
  const auto columns = spans_of(source.width, width);
  for (const Span& rows : spans_of(source.height, height)) {
    for (const Span& span : columns) {
      double sums[4] = {};
      for (size_t i = 0; i < rows.weights.size() * span.weights.size(); ++i) {
        const size_t dy = i / span.weights.size();
        const size_t dx = i % span.weights.size();
        const size_t at =
            (static_cast<size_t>(rows.first) + dy) * static_cast<size_t>(source.width) +
            static_cast<size_t>(span.first) + dx;
        const double weight = rows.weights[dy] * span.weights[dx] * source.rgba[at * 4 + 3];
        for (size_t c = 0; c < 3; ++c) sums[c] += weight * source.rgba[at * 4 + c];
        sums[3] += weight;
      }
      for (size_t c = 0; c < 3; ++c)
        mark.rgba.push_back(static_cast<uint8_t>(
            std::lround(std::min(sums[3] > 0 ? sums[c] / sums[3] : 0.0, 255.0))));
      mark.rgba.push_back(static_cast<uint8_t>(std::lround(std::min(sums[3], 255.0))));
    }
  }
  return mark;
}

Mark picture_mark(const std::string& path, int64_t frame_width, int64_t frame_height) {
  const Mark source = read_mark_picture(path);
  const double scale = std::min(kPictureWidth * static_cast<double>(frame_width) / source.width,
                                kPictureHeight * static_cast<double>(frame_height) / source.height);
  return resized(source, std::max(1, static_cast<int>(std::lround(source.width * scale))),
                 std::max(1, static_cast<int>(std::lround(source.height * scale))));
}

Mark text_mark(const std::string& text, int64_t frame_width, int64_t frame_height) {
  const std::vector<Glyph> glyphs = glyphs_of(text);
  const int64_t columns = static_cast<int64_t>(glyphs.size()) * (kGlyphColumns + 1) + 1;
  const auto wished = std::lround(kCapital * static_cast<double>(frame_height) / kGlyphBody);
  // No wider than half of the frame, unless that takes less than one pixel a dot.
  const int64_t scale = std::max<int64_t>(1, std::min<int64_t>(wished, frame_width / 2 / columns));
  return draw_text(glyphs, static_cast<int>(scale));
}

}  // namespace

bool is_mark_picture(const std::string& watermark) noexcept {
  return watermark.size() > 4 && (watermark.ends_with(".png") || watermark.ends_with(".PNG"));
}

void check_mark(const std::string& watermark) {
  if (watermark.empty()) return;
  if (is_mark_picture(watermark)) {
    read_mark_picture(watermark);
  } else {
    glyphs_of(watermark);
  }
}

Mark make_mark(const std::string& watermark, int64_t frame_width, int64_t frame_height) {
  Mark mark = is_mark_picture(watermark) ? picture_mark(watermark, frame_width, frame_height)
                                         : text_mark(watermark, frame_width, frame_height);
  const auto margin =
      std::lround(kMargin * static_cast<double>(std::min(frame_width, frame_height)));
  mark.x = static_cast<int>(frame_width - margin - mark.width);
  mark.y = static_cast<int>(frame_height - margin - mark.height);
  T2V_REQUIRE(mark.x >= 0 && mark.y >= 0, ErrorKind::kUsage, "watermark does not fit: it takes ",
              mark.width, "x", mark.height, " pixels of ", frame_width, "x", frame_height,
              " (--watermark); try a shorter text or a larger --size");
  return mark;
}

void blend_mark(const Mark& mark, uint8_t* rgb, int64_t frame_width) {
  const uint8_t* from = mark.rgba.data();
  for (int y = 0; y < mark.height; ++y) {
    uint8_t* to = rgb + ((mark.y + y) * frame_width + mark.x) * 3;
    for (int x = 0; x < mark.width; ++x, from += 4, to += 3) {
      for (int c = 0; c < 3; ++c)
        to[c] = static_cast<uint8_t>((from[c] * from[3] + to[c] * (255 - from[3]) + 127) / 255);
    }
  }
}

}  // namespace t2v::media
