// --t-list and --step-cache as text: read, and written so that they read back as the same.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "t2v/request.h"

namespace t2v::cli {

// "1000,937.5,0": falling numbers from 0 to 1000, the last one alone may be 0. why: what is wrong.
std::optional<std::vector<double>> parse_t_list(std::string_view text, std::string& why);
std::string t_list_text(const std::vector<double>& timesteps);

// "off", "easy[:THRESHOLD]", "mag[:THRESHOLD][:FILE]"; a threshold of 0 is off.
std::optional<StepCacheOptions> parse_step_cache(std::string_view text, std::string& why);
std::string step_cache_text(const StepCacheOptions& options);

}  // namespace t2v::cli
