// The help texts, made from the table of flags.
#pragma once

#include <span>
#include <string>
#include <utility>

#include "cli/flag_table.h"

namespace t2v::cli {

// Headings in the order of the help.
std::span<const std::pair<Group, const char*>> flag_groups();

std::string program_help();
std::string command_help(const Command& command);

}  // namespace t2v::cli
