// What a finished run tells: the summary for people, the --profile report, resolved settings.
#pragma once

#include <string>
#include <vector>

#include "t2v/engine.h"

namespace t2v::cli {

// Lines for standard error: recipe (without the prompt), times, peak memory, file.
std::string summary_text(const Report& report, const std::string& output);

// One stage and one step a line.
std::string profile_table(const Report& report);

// One line of JSON as in cli.md, --profile. request_json: the recipe as the engine writes it.
std::string profile_json(const Report& report, const std::string& request_json);

// Several reports: an array, one report a line.
std::string join_profiles(const std::vector<std::string>& profiles);

// {"event":"done", ...} for --progress json.
std::string done_json(const Report& report, const std::string& output);

// "flag = value" lines of a recipe; they can be read back with --config.
ResolvedSettings recipe_settings(const Recipe& recipe);

// `name = value` lines, values quoted where the config reader needs it.
std::string settings_text(const ResolvedSettings& settings, const std::string& indent);

// The shortest decimal text that reads back as the same number.
std::string number_text(double value);

}  // namespace t2v::cli
