// Cleans a prompt exactly as diffusers does before it is tokenized.
#pragma once

#include <string>
#include <string_view>

namespace t2v::text {

// ftfy.fix_text with its defaults, html.unescape twice, strip, runs of white space -> one space.
// Full-width forms become ASCII, curly quotes straight, ligatures letters; the result is NFC.
// Invalid UTF-8 in the input becomes U+FFFD.
std::string clean_prompt(std::string_view utf8);

}  // namespace t2v::text
