// Code points: UTF-8 in and out, Python's character classes, canonical composition.
#pragma once

#include <string>
#include <string_view>

namespace t2v::text {

constexpr char32_t kReplacement = 0xFFFD;

// Invalid bytes become U+FFFD, one for each maximal broken sequence, as in Python.
std::u32string decode_utf8(std::string_view utf8);

// Surrogates and values past U+10FFFF become U+FFFD.
std::string encode_utf8(std::u32string_view text);
void append_utf8(char32_t point, std::string& out);

// Python's str.isspace() and `\s`.
bool is_space(char32_t point) noexcept;
// Python's `\w` and `\d`.
bool is_word(char32_t point);
bool is_digit(char32_t point);

// Normal forms C and KC. Time grows with n log n whatever the text.
std::u32string nfc(std::u32string_view text);
std::u32string nfkc(std::u32string_view text);

// Without white space at both ends.
std::u32string_view strip(std::u32string_view text) noexcept;

}  // namespace t2v::text
