// The help texts, made from the table of flags.
#pragma once

#include <string>

#include "cli/flag_table.h"

namespace t2v::cli {

std::string program_help();
std::string command_help(const Command& command);

}  // namespace t2v::cli
