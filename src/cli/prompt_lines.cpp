#include "cli/prompt_lines.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "cli/csv_lines.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;

constexpr size_t kMaxPrompts = 1000000;
constexpr size_t kMaxBadLines = 20;  // more are told by nobody and read by nobody

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool is_comment_or_blank(std::string_view line) {
  const std::string_view text = trimmed(line);
  return text.empty() || text[0] == '#';
}

std::string line_name(const std::string& path, size_t line) {
  return str("prompt file ", quoted(path), ", line ", line);
}

void require_room(size_t num_prompts, const std::string& path) {
  T2V_REQUIRE(num_prompts < kMaxPrompts, ErrorKind::kInput, "prompt file is too long: more than ",
              kMaxPrompts, " prompts (", quoted(path), "); try several files");
}

// Strings as they are, numbers as written by JSON; anything else is no value of a flag.
bool scalar_text(const Json& value, std::string& text) {
  if (value.is_string()) {
    text = value.get<std::string>();
    return true;
  }
  if (!value.is_number() && !value.is_boolean()) return false;
  text = value.dump();
  return true;
}

void read_field(const std::string& name, const std::string& text, const Command& command,
                Prompt& prompt, Problems& problems) {
  if (text.find('\0') != std::string::npos) {
    problems.add(str("bad field ", quoted(name), ": it contains a NUL byte (", prompt.where, ")"));
    return;
  }
  const Flag* flag = find_flag(name, command.bit);
  if (flag && flag->name == "prompt") {
    prompt.text = text;
    return;
  }
  if (flag && flag->name == "output" && command.bit == kGenerate) {
    prompt.output = text;
    return;
  }
  const bool allowed = !flag || (flag->places & kPromptLine) != 0;
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

// The names of a CSV file's fields; problems are told with the line that has them.
std::vector<std::string> read_header(const CsvRecord& record, const std::string& path,
                                     const Command& command) {
  Problems problems;
  std::vector<std::string> names;
  std::set<std::string> seen;
  Prompt ignored{.text = {}, .where = line_name(path, record.line), .settings = {}, .output = {}};
  for (const CsvField& field : record.fields) {
    names.emplace_back(trimmed(field.text));
    const Flag* flag = find_flag(names.back(), command.bit);
    if (!seen.insert(flag ? std::string(flag->name) : names.back()).second)
      problems.add(
          str("bad header: field ", quoted(names.back()), " is there twice (", ignored.where, ")"));
    const bool is_switch = flag && flag->arity == Arity::kSwitch;
    read_field(names.back(), is_switch ? "false" : "", command, ignored, problems);
  }
  if (!seen.contains("prompt"))
    problems.add(str("bad header: field 'prompt' is missing (", ignored.where,
                     "); try a first line such as prompt,seed,size"));
  problems.throw_if_any(ErrorKind::kInput);
  return names;
}

}  // namespace

std::vector<Prompt> prompts_of_text_lines(const std::vector<std::string>& lines,
                                          const std::string& path) {
  std::vector<Prompt> prompts;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (is_comment_or_blank(lines[i])) continue;
    require_room(prompts.size(), path);
    prompts.push_back({.text = std::string(trimmed(lines[i])),
                       .where = line_name(path, i + 1),
                       .settings = {},
                       .output = {}});
  }
  return prompts;
}

std::vector<Prompt> prompts_of_json_lines(const std::vector<std::string>& lines,
                                          const std::string& path, const Command& command) {
  std::vector<Prompt> prompts;
  Problems problems;
  size_t bad_lines = 0;
  for (size_t i = 0; i < lines.size() && bad_lines < kMaxBadLines; ++i) {
    if (is_comment_or_blank(lines[i])) continue;
    require_room(prompts.size(), path);
    Prompt prompt{.text = {}, .where = line_name(path, i + 1), .settings = {}, .output = {}};
    const Json fields = Json::parse(lines[i], nullptr, /*allow_exceptions=*/false);
    Problems of_line;
    if (!fields.is_object()) {
      of_line.add(str("bad line: not a JSON object (", prompt.where, ")"));
    } else if (!fields.contains("prompt")) {
      of_line.add(str("bad line: field 'prompt' is missing (", prompt.where, ")"));
    } else {
      for (const auto& [name, value] : fields.items()) {
        std::string text;
        if (scalar_text(value, text)) {
          read_field(name, text, command, prompt, of_line);
        } else {
          of_line.add(str("bad field ", quoted(name), ": expected a string or a number (",
                          prompt.where, ")"));
        }
      }
    }
    bad_lines += of_line.empty() ? 0 : 1;
    problems.add_all(of_line);
    prompts.push_back(std::move(prompt));
  }
  problems.throw_if_any(ErrorKind::kInput);
  return prompts;
}

std::vector<Prompt> prompts_of_csv(const std::string& text, const std::string& path,
                                   const Command& command) {
  const std::vector<CsvRecord> records = read_csv(text, path);
  if (records.empty()) return {};
  const std::vector<std::string> names = read_header(records[0], path, command);
  std::vector<Prompt> prompts;
  Problems problems;
  size_t bad_lines = 0;
  for (size_t i = 1; i < records.size() && bad_lines < kMaxBadLines; ++i) {
    require_room(prompts.size(), path);
    const CsvRecord& record = records[i];
    Prompt prompt{.text = {}, .where = line_name(path, record.line), .settings = {}, .output = {}};
    Problems of_line;
    if (record.fields.size() != names.size()) {
      of_line.add(str("bad line: ", record.fields.size(), " fields, the header has ", names.size(),
                      " (", prompt.where, "); try quotes around text with commas"));
    } else {
      for (size_t f = 0; f < names.size(); ++f) {
        const CsvField& field = record.fields[f];
        if (field.quoted || !field.text.empty())
          read_field(names[f], field.text, command, prompt, of_line);
      }
    }
    bad_lines += of_line.empty() ? 0 : 1;
    problems.add_all(of_line);
    prompts.push_back(std::move(prompt));
  }
  problems.throw_if_any(ErrorKind::kInput);
  return prompts;
}

}  // namespace t2v::cli
