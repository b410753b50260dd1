// Makes any bytes fit for one line of a terminal.
#pragma once

#include <string>
#include <string_view>

namespace t2v::core {

// Control bytes (0x00-0x1f, 0x7f, and C1 controls in UTF-8) become \n, \t or \xNN; invalid UTF-8
// bytes become \xNN; everything else is kept. At most max_bytes of output, then "...".
std::string escape_control(std::string_view text, size_t max_bytes = 4096);

}  // namespace t2v::core
