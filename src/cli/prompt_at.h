// One --prompt-at: TIME:TEXT.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "t2v/request.h"

namespace t2v::cli {

// "5s:TEXT", "2.5:TEXT" (seconds), "1:30:TEXT" (minutes and seconds). why: what is wrong.
std::optional<PromptAt> parse_prompt_at(std::string_view text, std::string& why);

// The same in one form: "90s:TEXT".
std::string prompt_at_text(const PromptAt& change);

}  // namespace t2v::cli
