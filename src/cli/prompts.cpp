#include "cli/prompts.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "cli/prompt_lines.h"
#include "cli/text_file.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr size_t kMaxPromptBytes = 1000 * 1000;
constexpr size_t kMaxPromptFileBytes = 64 * 1000 * 1000;

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
}

std::string without_last_newline(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

Prompt read_prompt_flag(const Setting& setting, size_t number, bool& stdin_used) {
  Prompt prompt{
      .text = setting.value, .where = str("--prompt ", number), .settings = {}, .output = {}};
  if (setting.value == "-") {
    T2V_REQUIRE(!stdin_used, ErrorKind::kUsage, "--prompt: standard input can be read once only (",
                prompt.where, ")");
    stdin_used = true;
    prompt.text = without_last_newline(read_text_file("-", kMaxPromptBytes, "prompt"));
    prompt.where = "standard input";
  } else if (setting.value.starts_with("@")) {
    const std::string path = setting.value.substr(1);
    T2V_REQUIRE(!path.empty(), ErrorKind::kInput,
                "cannot read prompt: '@' needs the name of a file behind it (", prompt.where, ")");
    prompt.text = without_last_newline(read_text_file(path, kMaxPromptBytes, "prompt file"));
    prompt.where = quoted(path);
  }
  return prompt;
}

std::vector<Prompt> read_prompt_file(const std::string& path, const Command& command) {
  const std::string suffix = std::filesystem::path(path).extension().string();
  const std::string text = read_text_file(path, kMaxPromptFileBytes, "prompt file");
  std::vector<Prompt> prompts;
  if (suffix == ".csv") {
    prompts = prompts_of_csv(text, path, command);
  } else if (suffix == ".jsonl") {
    prompts = prompts_of_json_lines(split_lines(text), path, command);
  } else {
    prompts = prompts_of_text_lines(split_lines(text), path);
  }
  T2V_REQUIRE(!prompts.empty(), ErrorKind::kInput, "prompt file is empty: no prompt in it (",
              quoted(path), "); try one prompt a line");
  return prompts;
}

}  // namespace

void require_prompt_text(const std::string& text, const std::string& where) {
  T2V_REQUIRE(text.size() <= kMaxPromptBytes, ErrorKind::kInput,
              "prompt is too long: ", text.size(), " bytes, at most ", kMaxPromptBytes,
              " are read (", where, ")");
  require_clean_text(text, "prompt", where);
}

std::vector<Prompt> read_prompts(const Flags& flags, const Command& command, EmptyPrompts empty) {
  std::vector<Prompt> prompts;
  bool stdin_used = false;
  for (const Setting& setting : flags.find_all({"prompt", "prompts"})) {
    if (setting.flag->name != "prompt") continue;
    prompts.push_back(read_prompt_flag(setting, prompts.size() + 1, stdin_used));
  }
  for (const Setting& setting : flags.find_all({"prompt", "prompts"})) {
    if (setting.flag->name != "prompts") continue;
    T2V_REQUIRE(!setting.value.empty(), ErrorKind::kUsage,
                "invalid value for --prompts: '' is empty, expected a path (", setting.where, ")");
    auto lines = read_prompt_file(setting.value, command);
    std::move(lines.begin(), lines.end(), std::back_inserter(prompts));
  }
  T2V_REQUIRE(!prompts.empty(), ErrorKind::kUsage,
              "no prompt was given: --prompt or --prompts is needed (command line); try t2v ",
              command.name, " --prompt \"a small red circle moves right on a black background\"");
  for (const Prompt& prompt : prompts) {
    require_prompt_text(prompt.text, prompt.where);
    T2V_REQUIRE(empty == EmptyPrompts::kAllowed || !is_blank(prompt.text), ErrorKind::kInput,
                "prompt is empty: there is no text in it (", prompt.where, ")");
  }
  return prompts;
}

}  // namespace t2v::cli
