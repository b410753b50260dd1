#include "cli/folded_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "core/check.h"
#include "core/utf8.h"

namespace t2v::cli {
namespace {

struct Range {
  int32_t first = 0;
  int32_t last = 0;
};

constexpr std::array<Range, 10> kWithoutBlanks{{{0x0e00, 0x0eff},      // Thai, Lao
                                                {0x1000, 0x109f},      // Myanmar
                                                {0x1100, 0x11ff},      // Hangul letters
                                                {0x1780, 0x17ff},      // Khmer
                                                {0x3005, 0x3007},      // Han
                                                {0x3040, 0x318f},      // kana, bopomofo, Hangul
                                                {0x31f0, 0x31ff},      // kana
                                                {0x3400, 0x9fff},      // Han
                                                {0xac00, 0xd7ff},      // Hangul
                                                {0x20000, 0x3ffff}}};  // Han

// At most 30 marks in a row (Unicode's stream-safe text): more mean nothing, and utf8proc sorts
// them in quadratic time.
std::string with_few_marks(const std::string& utf8) {
  constexpr int kMaxMarks = 30;
  std::string out;
  int marks = 0;
  for (size_t at = 0, length = 0; at < utf8.size(); at += length) {
    const int32_t point = code_point(utf8, at, length);
    marks = utf8proc_get_property(point)->combining_class == 0 ? 0 : marks + 1;
    if (marks <= kMaxMarks) out.append(utf8, at, length);
  }
  return out;
}

// Text that utf8proc does not take stays as it is: prompts are known to be UTF-8.
std::string mapped(const std::string& utf8, unsigned options) {
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()),
                                             static_cast<utf8proc_ssize_t>(utf8.size()), &out,
                                             static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, &std::free);
  T2V_REQUIRE(size != UTF8PROC_ERROR_NOMEM, ErrorKind::kOutOfMemory,
              "not enough memory to compare a text with the block list");
  return size < 0 ? utf8
                  : std::string(reinterpret_cast<const char*>(out), static_cast<size_t>(size));
}

void append_utf8(std::string& out, int32_t point) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const utf8proc_ssize_t size = utf8proc_encode_char(point, bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(size));
}

// The character that "#110;" or "#x6e;" means; 0: it means none. length: of the reference.
int32_t reference_at(std::string_view text, size_t& length) {
  constexpr size_t kMaxBytes = 12;
  const size_t end = text.substr(0, kMaxBytes).find(';');
  if (end == std::string_view::npos || end < 2 || text[0] != '#') return 0;
  const bool hexadecimal = text[1] == 'x' || text[1] == 'X';
  const std::string digits(text.substr(hexadecimal ? 2 : 1, end - (hexadecimal ? 2 : 1)));
  char* stop = nullptr;
  const long value = std::strtol(digits.c_str(), &stop, hexadecimal ? 16 : 10);
  length = end + 1;
  const bool valid = !digits.empty() && *stop == '\0' && value > 0 && value < 0x110000;
  return valid && utf8proc_codepoint_valid(static_cast<utf8proc_int32_t>(value))
             ? static_cast<int32_t>(value)
             : 0;
}

std::string decoded_once(const std::string& utf8) {
  std::string out;
  for (size_t at = 0; at < utf8.size(); ++at) {
    const std::string_view rest = std::string_view(utf8).substr(at + 1);
    size_t length = 0;
    const int32_t point = utf8[at] == '&' ? reference_at(rest, length) : 0;
    if (point != 0) {
      append_utf8(out, point);
      at += length;
    } else if (utf8[at] == '&' && rest.starts_with("amp;")) {
      out += '&';
      at += 4;
    } else {
      out += utf8[at];
    }
  }
  return out;
}

}  // namespace

std::string without_references(const std::string& utf8) {
  if (utf8.find('&') == std::string::npos) return utf8;
  return decoded_once(decoded_once(utf8));
}

std::string compatible_text(const std::string& utf8) {
  return mapped(with_few_marks(utf8),
                UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE | UTF8PROC_IGNORE);
}

std::string folded_text(const std::string& utf8) {
  const std::string folded =
      mapped(compatible_text(utf8), UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE |
                                        UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
  std::string out;
  for (const char letter : folded) {
    const bool blank = letter == ' ' || (letter >= '\t' && letter <= '\r');
    if (!blank) out += letter;
    if (blank && !out.empty() && out.back() != ' ') out += ' ';
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

std::string without_accents(const std::string& folded) {
  const std::string apart = mapped(folded, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  std::string out;
  for (size_t at = 0, length = 0; at < apart.size(); at += length) {
    const int32_t point = code_point(apart, at, length);
    if (point < 0x0300 || point > 0x036f) out.append(apart, at, length);
  }
  return mapped(out, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
}

int32_t code_point(std::string_view utf8, size_t at, size_t& length) {
  utf8proc_int32_t point = -1;
  const utf8proc_ssize_t size =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()) + at,
                       static_cast<utf8proc_ssize_t>(utf8.size() - at), &point);
  length = size > 0 ? static_cast<size_t>(size) : 1;
  return point;
}

bool is_word_character(int32_t code_point) {
  const utf8proc_category_t category = utf8proc_category(code_point);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO);
}

bool is_written_without_blanks(int32_t code_point) {
  return std::any_of(kWithoutBlanks.begin(), kWithoutBlanks.end(), [&](const Range& range) {
    return code_point >= range.first && code_point <= range.last;
  });
}

}  // namespace t2v::cli
