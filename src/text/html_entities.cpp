#include "text/html_entities.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <unordered_map>

namespace t2v::text {
namespace {

#include "text/html_entities.inc"

constexpr size_t kMaxName = 32;        // characters of a name that are looked at
constexpr size_t kMaxStrictName = 24;  // the same in the strict form

// What the numbers 0x80-0x9F mean; 0 where Windows-1252 has nothing.
constexpr char16_t kWindows1252[32] = {
    0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8D,   0x017D, 0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};

using Table = std::unordered_map<std::string_view, std::u32string>;

// Reads `NAME=HEX,HEX ` entries.
void add_entries(std::string_view blob, Table& table) {
  while (!blob.empty()) {
    const size_t equals = blob.find('=');
    const size_t end = blob.find(' ');
    std::u32string value;
    const char* at = blob.data() + equals + 1;
    const char* const stop = blob.data() + end;
    while (at < stop) {
      uint32_t point = 0;
      at = std::from_chars(at, stop, point, 16).ptr + 1;
      value += static_cast<char32_t>(point);
    }
    table.emplace(blob.substr(0, equals), std::move(value));
    blob.remove_prefix(end + 1);
  }
}

const Table& entities() {
  static const Table table = [] {
    Table made;
    add_entries(kEntities, made);
    return made;
  }();
  return table;
}

const Table& upper_entities() {
  static const Table table = [] {
    Table made;
    add_entries(kUpperEntities, made);
    return made;
  }();
  return table;
}

const std::u32string* find(const Table& table, std::string_view name) {
  const auto it = table.find(name);
  return it == table.end() ? nullptr : &it->second;
}

// Code points that a number may not name; they vanish.
bool is_invalid(uint32_t n) {
  return (n >= 0x1 && n <= 0x8) || n == 0xB || (n >= 0xE && n <= 0x1F) ||
         (n >= 0x7F && n <= 0x9F) || (n >= 0xFDD0 && n <= 0xFDEF) || (n & 0xFFFE) == 0xFFFE;
}

std::u32string number_value(uint32_t n) {
  if (n >= 0x80 && n <= 0x9F) return {static_cast<char32_t>(kWindows1252[n - 0x80])};
  if (n == 0 || (n >= 0xD800 && n <= 0xDFFF) || n > 0x10FFFF) return U"\uFFFD";
  if (n != 0xD && is_invalid(n)) return {};
  return {static_cast<char32_t>(n)};
}

int digit_value(char32_t c, uint32_t base) {
  if (c >= U'0' && c <= U'9') return static_cast<int>(c - U'0');
  const char32_t lower = c | 0x20;
  if (base == 16 && lower >= U'a' && lower <= U'f') return static_cast<int>(lower - U'a' + 10);
  return -1;
}

// A reference found at `&`: what it stands for and the characters it covers, with the `&`.
struct Found {
  std::u32string value;
  size_t length;
};

// text starts with `&#`. The semicolon is optional.
std::optional<Found> parse_number(std::u32string_view text) {
  const bool hex = text.size() > 2 && (text[2] | 0x20) == U'x';
  const uint32_t base = hex ? 16 : 10;
  const size_t begin = hex ? 3 : 2;
  size_t i = begin;
  uint32_t n = 0;
  for (; i < text.size() && digit_value(text[i], base) >= 0; ++i) {
    n = std::min(n * base + static_cast<uint32_t>(digit_value(text[i], base)), 0x110000u);
  }
  if (i == begin) return std::nullopt;
  if (i < text.size() && text[i] == U';') ++i;
  return Found{number_value(n), i};
}

bool ends_name(char32_t c) {
  return c == U'\t' || c == U'\n' || c == U'\f' || c == U' ' || c == U'<' || c == U'&' ||
         c == U'#' || c == U';';
}

// text starts with `&`. Takes the longest known name that is a prefix of what stands there.
std::optional<Found> parse_name(std::u32string_view text) {
  std::string name;  // names are ASCII, so a non-ASCII character ends what can match
  size_t i = 1;
  while (i < text.size() && i <= kMaxName && !ends_name(text[i]) && text[i] < 0x80) {
    name += static_cast<char>(text[i++]);
  }
  if (i < text.size() && text[i] == U';') name += ';';
  for (size_t length = name.size(); length > 1; --length) {
    const auto* value = find(entities(), std::string_view(name).substr(0, length));
    if (value) return Found{*value, length + 1};
  }
  return std::nullopt;
}

bool is_ascii_alnum(char32_t c) {
  return (c >= U'0' && c <= U'9') || ((c | 0x20) >= U'a' && (c | 0x20) <= U'z');
}

std::optional<Found> parse_lenient(std::u32string_view text) {
  return text.size() > 1 && text[1] == U'#' ? parse_number(text) : parse_name(text);
}

std::optional<Found> parse_strict(std::u32string_view text) {
  const bool number = text.size() > 1 && text[1] == U'#';
  const size_t begin = number ? 2 : 1;
  size_t end = begin;
  while (end < text.size() && end - begin < kMaxStrictName && is_ascii_alnum(text[end])) ++end;
  if (end == begin || end == text.size() || text[end] != U';') return std::nullopt;
  if (number) {
    auto found = parse_number(text.substr(0, end + 1));
    if (!found || found->length != end + 1 || found->value == U";") return std::nullopt;
    return found;
  }
  const std::string name(text.begin() + 1, text.begin() + static_cast<std::ptrdiff_t>(end) + 1);
  const auto* value = find(entities(), name);
  if (!value) value = find(upper_entities(), name);
  if (!value) return std::nullopt;
  return Found{*value, end + 1};
}

template <typename Parse>
std::u32string replace_references(std::u32string_view text, Parse parse) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t start = text.find(U'&');
    out += text.substr(0, start);
    if (start == std::u32string_view::npos) break;
    text.remove_prefix(start);
    const auto found = parse(text);
    out += found ? std::u32string_view(found->value) : std::u32string_view(U"&");
    text.remove_prefix(found ? found->length : 1);
  }
  return out;
}

}  // namespace

std::u32string unescape_html(std::u32string_view text) {
  return replace_references(text, parse_lenient);
}

std::u32string unescape_html_strict(std::u32string_view text) {
  return replace_references(text, parse_strict);
}

}  // namespace t2v::text
