// Repairs mojibake: UTF-8 that was read as Latin-1, Windows-125x, MacRoman or cp437.
#pragma once

#include <string>
#include <string_view>

namespace t2v::text {

// "schÃ¶n" -> "schön". Text that does not look garbled comes back as it is. The decisions are those
// of ftfy 6.3.1 (fix_encoding).
std::u32string repair_mojibake(std::u32string_view text);

// C1 control characters become what Windows-1252 has in their place.
void replace_c1_controls(std::u32string& text);

}  // namespace t2v::text
