// The man page t2v(1), made from the table of flags.
#pragma once

#include <string>

namespace t2v::cli {

// Source for man(7) macros.
std::string man_page();

}  // namespace t2v::cli
