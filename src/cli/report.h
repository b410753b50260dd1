// What a finished run tells to programs: its last line of JSON, resolved settings.
#pragma once

#include <string>
#include <vector>

#include "t2v/engine.h"

namespace t2v::cli {

// {"event":"done", ...} for --progress json.
std::string done_json(const Report& report, const std::string& output);

// "flag = value" lines of a recipe; they can be read back with --config.
ResolvedSettings recipe_settings(const Recipe& recipe);

// `name = value` lines, values quoted where the config reader needs it.
std::string settings_text(const ResolvedSettings& settings, const std::string& indent);

// The shortest decimal text that reads back as the same number.
std::string number_text(double value);

}  // namespace t2v::cli
