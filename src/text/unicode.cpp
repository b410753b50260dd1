#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/utf8.h"

namespace t2v::text {
namespace {

// Bytes to skip for one U+FFFD: the longest start of a well-formed sequence, at least one.
size_t broken_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  const size_t wanted = first >= 0xF0 && first <= 0xF4   ? 4
                        : first >= 0xE0 && first <= 0xEF ? 3
                        : first >= 0xC2 && first <= 0xDF ? 2
                                                         : 1;
  size_t length = 1;
  while (length < wanted && length < text.size()) {
    unsigned low = 0x80, high = 0xBF;
    if (length == 1) {
      if (first == 0xE0) low = 0xA0;
      if (first == 0xED) high = 0x9F;
      if (first == 0xF0) low = 0x90;
      if (first == 0xF4) high = 0x8F;
    }
    if (byte(length) < low || byte(length) > high) break;
    ++length;
  }
  return length;
}

char32_t decode_one(std::string_view sequence) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (sequence.size() == 1) return byte(0);
  char32_t point = byte(0) & (0xFFu >> (sequence.size() + 1));
  for (size_t i = 1; i < sequence.size(); ++i) point = (point << 6) | (byte(i) & 0x3Fu);
  return point;
}

std::u32string normalize(std::u32string_view text, int options) {
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size() + text.size() / 4 + 16);
  for (const char32_t c : text) {
    utf8proc_int32_t buffer[32];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), buffer, 32,
                                               static_cast<utf8proc_option_t>(options), &boundary);
    if (count < 0 || count > 32) {
      points.push_back(static_cast<utf8proc_int32_t>(c));
    } else {
      points.insert(points.end(), buffer, buffer + count);
    }
  }
  // Canonical order. utf8proc's own is quadratic for long runs of marks.
  const auto mark_class = [](utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
  };
  for (auto it = points.begin(); it != points.end();) {
    if (*it < 0x300 || mark_class(*it) == 0) {
      ++it;
      continue;
    }
    const auto end = std::find_if(it, points.end(), [&](auto c) { return mark_class(c) == 0; });
    std::stable_sort(it, end, [&](auto a, auto b) { return mark_class(a) < mark_class(b); });
    it = end;
  }
  const auto size = utf8proc_normalize_utf32(points.data(), std::ssize(points),
                                             static_cast<utf8proc_option_t>(options));
  T2V_ASSERT(size >= 0);
  return {points.begin(), points.begin() + size};
}

}  // namespace

std::u32string decode_utf8(std::string_view utf8) {
  std::u32string out;
  out.reserve(utf8.size());
  while (!utf8.empty()) {
    const size_t length = core::utf8_sequence_length(utf8);
    out += length ? decode_one(utf8.substr(0, length)) : kReplacement;
    utf8.remove_prefix(length ? length : broken_length(utf8));
  }
  return out;
}

void append_utf8(char32_t point, std::string& out) {
  if (point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) point = kReplacement;
  utf8proc_uint8_t buffer[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(point), buffer);
  for (utf8proc_ssize_t i = 0; i < size; ++i) out += static_cast<char>(buffer[i]);
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  for (const char32_t c : text) append_utf8(c, out);
  return out;
}

bool is_space(char32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return c == U'_' || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
         (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

bool is_digit(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

std::u32string nfc(std::u32string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x300; })) {
    return std::u32string(text);
  }
  return normalize(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
}

std::u32string nfkc(std::u32string_view text) {
  return normalize(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
}

std::u32string_view strip(std::u32string_view text) noexcept {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace t2v::text
