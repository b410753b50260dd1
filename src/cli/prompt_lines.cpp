#include "cli/prompt_lines.h"

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string line_name(const std::string& path, size_t index) {
  return str("prompt file ", quoted(path), ", line ", index + 1);
}

// Strings as they are, numbers as written by JSON; anything else is no value of a flag.
bool scalar_text(const Json& value, std::string& text) {
  if (value.is_string()) {
    text = value.get<std::string>();
    return true;
  }
  text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return value.is_number() || value.is_boolean();
}

void read_field(const std::string& name, const Json& value, const Command& command, Prompt& prompt,
                Problems& problems) {
  std::string text;
  if (!scalar_text(value, text)) {
    problems.add(
        str("bad field ", quoted(name), ": expected a string or a number (", prompt.where, ")"));
    return;
  }
  const Flag* flag = find_flag(name, command.bit);
  if (flag && flag->name == "prompt") {
    prompt.text = text;
    return;
  }
  const bool allowed = !flag || flag->commands == 0 || (flag->places & kPromptLine) != 0;
  if (!allowed) {
    problems.add(str("bad field ", quoted(name), ": --", flag->name,
                     " cannot be set for one line (", prompt.where,
                     "); try it on the command line"));
    return;
  }
  add_file_setting(command, name,
                   Setting{.value = text, .where = prompt.where, .origin = Origin::kPromptFile},
                   prompt.settings, problems);
}

}  // namespace

std::vector<Prompt> prompts_of_text_lines(const std::vector<std::string>& lines,
                                          const std::string& path) {
  std::vector<Prompt> prompts;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view text = trimmed(lines[i]);
    if (text.empty() || text[0] == '#') continue;
    prompts.push_back({.text = std::string(text), .where = line_name(path, i), .settings = {}});
  }
  return prompts;
}

std::vector<Prompt> prompts_of_json_lines(const std::vector<std::string>& lines,
                                          const std::string& path, const Command& command) {
  std::vector<Prompt> prompts;
  Problems problems;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (trimmed(lines[i]).empty()) continue;
    Prompt prompt{.text = {}, .where = line_name(path, i), .settings = {}};
    const Json fields = Json::parse(lines[i], nullptr, /*allow_exceptions=*/false);
    if (!fields.is_object()) {
      problems.add(str("bad line: not a JSON object (", prompt.where, ")"));
      continue;
    }
    if (!fields.contains("prompt")) {
      problems.add(str("bad line: field 'prompt' is missing (", prompt.where, ")"));
      continue;
    }
    for (const auto& [name, value] : fields.items())
      read_field(name, value, command, prompt, problems);
    prompts.push_back(std::move(prompt));
  }
  problems.throw_if_any(ErrorKind::kInput);
  return prompts;
}

}  // namespace t2v::cli
