// Completion scripts of shells, made from the table of flags.
#pragma once

#include <string>

namespace t2v::cli {

std::string bash_completion();
std::string zsh_completion();
std::string fish_completion();

}  // namespace t2v::cli
