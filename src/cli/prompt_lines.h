// The lines of a prompt file: plain text, or one JSON object a line with fields named like flags.
#pragma once

#include <string>
#include <vector>

#include "cli/prompts.h"

namespace t2v::cli {

// One prompt a line; blank lines and lines that start with # are skipped.
std::vector<Prompt> prompts_of_text_lines(const std::vector<std::string>& lines,
                                          const std::string& path);

// Throws Error{kInput} with all problems of all lines, each with its line's number.
std::vector<Prompt> prompts_of_json_lines(const std::vector<std::string>& lines,
                                          const std::string& path, const Command& command);

}  // namespace t2v::cli
