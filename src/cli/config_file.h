// Reads --config FILE: lines of `flag = value`, a small subset of TOML. Not CLI11's reader: version
// 2.1 has no escapes, takes "#" within quotes for a comment, splits bare text at blanks, accepts
// broken lines in silence and does not know line numbers.
#pragma once

#include <string>
#include <vector>

#include "cli/command_line.h"

namespace t2v::cli {

// Comments start with #; values are bare, "double" (\n \t \" \\ and the like) or 'single' quoted.
// Problems with lines are added; throws Error{kInput} when the file cannot be read.
std::vector<Setting> read_config_file(const std::string& path, const Command& command,
                                      Problems& problems);

}  // namespace t2v::cli
