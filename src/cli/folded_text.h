// Text as the block list compares it: Unicode-normalised, letter case and hidden characters gone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace t2v::cli {

// Numeric character references (&#110; &#x6e;) become characters, twice, as the engine's prompt
// cleaning does it: what is hidden in them is seen.
std::string without_references(const std::string& utf8);

// NFKC without characters that cannot be seen (soft hyphen, zero width); case stays.
std::string compatible_text(const std::string& utf8);

// The same with case folded in full (German sharp s is "ss") and white space as single blanks.
std::string folded_text(const std::string& utf8);

// Letters lose the accents U+0300 to U+036F (Latin, Greek, Cyrillic); marks of other scripts stay.
std::string without_accents(const std::string& folded);

// The character at `at` and its length in bytes. Well-formed UTF-8 only.
int32_t code_point(std::string_view utf8, size_t at, size_t& length);

// Letter, digit or mark.
bool is_word_character(int32_t code_point);

// Scripts that put no blanks between words, and Korean, whose particles follow a word directly.
bool is_written_without_blanks(int32_t code_point);

}  // namespace t2v::cli
