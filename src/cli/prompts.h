// What to make videos of: --prompt and --prompts, read whole and checked before any work.
#pragma once

#include <string>
#include <vector>

#include "cli/options.h"

namespace t2v::cli {

struct Prompt {
  std::string text;               // UTF-8
  std::string where;              // "--prompt 2", "prompt file 'x', line 7"
  std::vector<Setting> settings;  // fields of a file's line: they win over the command line
  std::string output;             // of a file's line: a name in the output folder; "" = none
};

enum class EmptyPrompts { kRefused, kAllowed };

// In order: each --prompt, then the lines of --prompts. Throws Error{kInput} for text that is
// absent, empty, not UTF-8, has NUL bytes or is over 1 MB, and for files that break the rules of
// their format; Error{kUsage} when there is no prompt.
std::vector<Prompt> read_prompts(const Flags& flags, const Command& command, EmptyPrompts empty);

// Throws Error{kInput} unless text is UTF-8 without NUL and not over 1 MB.
void require_prompt_text(const std::string& text, const std::string& where);

}  // namespace t2v::cli
