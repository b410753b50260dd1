// What --profile tells: where the time of a video went, as JSON (docs/profile.schema.json) or as a
// table.
#pragma once

#include <string>
#include <vector>

#include "t2v/engine.h"

namespace t2v::cli {

// Stages, steps and the operations that took most time, one a line.
std::string profile_table(const Report& report);

// One line of JSON. request_json: the recipe as the engine writes it.
std::string profile_json(const Report& report, const std::string& request_json);

// Several reports: an array, one report a line.
std::string join_profiles(const std::vector<std::string>& profiles);

}  // namespace t2v::cli
