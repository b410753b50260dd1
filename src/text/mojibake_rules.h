// What mojibake (UTF-8 read as an 8-bit encoding) looks like: the rule set of ftfy 6.3.1.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace t2v::text {

// Whether the text has a sequence that is unlikely in real text.
bool looks_garbled(std::u32string_view text);

// Length of the run of UTF-8-like sequences that starts at `at`; 0 if there is none.
size_t utf8_like_run(std::u32string_view text, size_t at);

}  // namespace t2v::text
