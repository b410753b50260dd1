// HTML character references, in the two ways that prompt cleaning needs.
#pragma once

#include <string>
#include <string_view>

namespace t2v::text {

// As a browser does it and Python's html.unescape: `&amp` without a semicolon too, the longest
// known prefix of a name, numbers with the Windows-1252 meaning of 0x80-0x9F.
std::u32string unescape_html(std::u32string_view text);

// Only references that end in a semicolon, and all-capitals spellings such as `&EACUTE;`.
std::u32string unescape_html_strict(std::u32string_view text);

}  // namespace t2v::text
