// One --lora value: FILE[@high|low][:weight].
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "t2v/request.h"

namespace t2v::cli {

// expert: "high" or "low" when the flag has fixed it, else "". Empty when the text is wrong; `why`
// then says how, as it follows the value in a message.
std::optional<LoraOption> parse_lora(std::string_view text, const std::string& expert,
                                     std::string& why);

// The text that parse_lora reads back as this option.
std::string lora_text(const LoraOption& lora);

}  // namespace t2v::cli
