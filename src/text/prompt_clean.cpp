#include "text/prompt_clean.h"

#include <algorithm>
#include <array>

#include "text/html_entities.h"
#include "text/mojibake.h"
#include "text/unicode.h"

namespace t2v::text {
namespace {

constexpr size_t kMaxSegment = 1'000'000;  // code points that are repaired together
constexpr char32_t kFirstWide = 0xFF01;    // full-width and half-width forms
constexpr char32_t kLastWide = 0xFFEF;

struct Ligature {
  char32_t point;
  std::u32string_view letters;
};

// Sorted. Letters that were joined for typography or for old encodings; not æ or œ.
constexpr Ligature kLigatures[] = {
    {0x0132, U"IJ"},      {0x0133, U"ij"},      {0x0149, U"\u02BCn"}, {0x01C4, U"D\u017D"},
    {0x01C5, U"D\u017E"}, {0x01C6, U"d\u017E"}, {0x01C7, U"LJ"},      {0x01C8, U"Lj"},
    {0x01C9, U"lj"},      {0x01CA, U"NJ"},      {0x01CB, U"Nj"},      {0x01CC, U"nj"},
    {0x01F1, U"DZ"},      {0x01F2, U"Dz"},      {0x01F3, U"dz"},      {0xFB00, U"ff"},
    {0xFB01, U"fi"},      {0xFB02, U"fl"},      {0xFB03, U"ffi"},     {0xFB04, U"ffl"},
    {0xFB05, U"\u017Ft"}, {0xFB06, U"st"}};

const Ligature* find_ligature(char32_t c) {
  for (const Ligature& ligature : kLigatures) {
    if (ligature.point == c) return &ligature;
  }
  return nullptr;
}

// The compatibility form of a full-width or half-width character.
const std::u32string& standard_width(char32_t c) {
  static const auto table = [] {
    std::array<std::u32string, kLastWide - kFirstWide + 1> made;
    for (char32_t i = 0; i < made.size(); ++i) {
      made[i] = nfkc(std::u32string(1, kFirstWide + i));
    }
    return made;
  }();
  return table[c - kFirstWide];
}

char32_t straight_quote(char32_t c) {
  if (c == 0x02BC || (c >= 0x2018 && c <= 0x201B)) return U'\'';
  if (c >= 0x201C && c <= 0x201F) return U'"';
  return c;
}

// Ligatures, widths and quotes, in this order for each character.
std::u32string plain_forms(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) {
    if (c < 0x80) {
      out += c;
    } else if (const Ligature* ligature = find_ligature(c)) {
      for (const char32_t letter : ligature->letters) out += straight_quote(letter);
    } else if (c == 0x3000) {
      out += U' ';
    } else if (c >= kFirstWide && c <= kLastWide) {
      for (const char32_t plain : standard_width(c)) out += straight_quote(plain);
    } else {
      out += straight_quote(c);
    }
  }
  return out;
}

std::u32string fix_line_breaks(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == U'\r' && i + 1 < text.size() && text[i + 1] == U'\n') continue;
    out += c == U'\r' || c == 0x2028 || c == 0x2029 || c == 0x85 ? U'\n' : c;
  }
  return out;
}

// Length of an ANSI sequence (ESC [ digits and semicolons, letter) at the start; 0 if none.
size_t terminal_escape(std::u32string_view text) {
  if (text.size() < 3 || text[0] != 0x1B || text[1] != U'[') return 0;
  size_t i = 2;
  while (i < text.size() && (text[i] == U';' || is_digit(text[i]))) ++i;
  const bool letter = i < text.size() && (text[i] | 0x20) >= U'a' && (text[i] | 0x20) <= U'z';
  return letter ? i + 1 : 0;
}

bool is_unwanted_control(char32_t c) {
  return c <= 0x08 || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
         (c >= 0x206A && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFC);
}

std::u32string remove_controls(std::u32string_view text) {
  std::u32string shown;
  shown.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t length = text[i] == 0x1B ? terminal_escape(text.substr(i)) : 0;
    if (length == 0) shown += text[i];
    i += length ? length : 1;
  }
  std::erase_if(shown, is_unwanted_control);
  return shown;
}

// Repeats all repairs until nothing changes.
std::u32string fix_segment(std::u32string_view segment, bool unescape) {
  std::u32string text(segment);
  while (true) {
    std::u32string next = unescape ? unescape_html_strict(text) : text;
    next = repair_mojibake(next);
    replace_c1_controls(next);
    next = nfc(remove_controls(fix_line_breaks(plain_forms(next))));
    if (next == text) return text;
    text = std::move(next);
  }
}

// ftfy.fix_text: line by line. After the first `<` the text is taken for HTML and keeps its
// character references here.
std::u32string fix_text(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  bool unescape = true;
  while (!text.empty()) {
    const size_t newline = text.find(U'\n');
    const size_t line = newline == std::u32string_view::npos ? text.size() : newline + 1;
    const std::u32string_view segment = text.substr(0, std::min(line, kMaxSegment));
    if (segment.find(U'<') != std::u32string_view::npos) unescape = false;
    out += fix_segment(segment, unescape);
    text.remove_prefix(segment.size());
  }
  return out;
}

std::u32string collapse_spaces(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : strip(text)) {
    if (!is_space(c)) {
      out += c;
    } else if (out.back() != U' ') {
      out += U' ';
    }
  }
  return out;
}

}  // namespace

std::string clean_prompt(std::string_view utf8) {
  const std::u32string fixed = fix_text(decode_utf8(utf8));
  return encode_utf8(collapse_spaces(unescape_html(unescape_html(fixed))));
}

}  // namespace t2v::text
