// The command line that makes a video again, from its embedded recipe.
#pragma once

#include <string>

namespace t2v::cli {

// One word for a POSIX shell.
std::string shell_quoted(const std::string& text);

// recipe_json: an object whose keys are long flags with underscores; other keys are left out.
// Throws Error{kInput} when it is no such object. path: the video, for messages.
std::string command_of_recipe(const std::string& recipe_json, const std::string& path);

}  // namespace t2v::cli
