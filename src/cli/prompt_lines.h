// The lines of a prompt file: plain text, JSON objects or CSV records with fields named like flags.
#pragma once

#include <string>
#include <vector>

#include "cli/prompts.h"

namespace t2v::cli {

// Blank lines and lines that start with # are no prompts in any of the formats. More than a million
// lines are Error{kInput}.

// One prompt a line.
std::vector<Prompt> prompts_of_text_lines(const std::vector<std::string>& lines,
                                          const std::string& path);

// One object a line. Throws Error{kInput} with the problems of all lines, each with line and field.
std::vector<Prompt> prompts_of_json_lines(const std::vector<std::string>& lines,
                                          const std::string& path, const Command& command);

// The first record names the fields, `prompt` among them; an empty field without quotes is left
// out. Throws as above.
std::vector<Prompt> prompts_of_csv(const std::string& text, const std::string& path,
                                   const Command& command);

}  // namespace t2v::cli
