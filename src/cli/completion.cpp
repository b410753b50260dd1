#include "cli/completion.h"

#include <initializer_list>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "cli/flag_table.h"
#include "cli/man_page.h"
#include "cli/streams.h"
#include "core/check.h"
#include "t2v/request.h"

namespace t2v::cli {
namespace {

using core::str;

enum class Values { kNone, kFiles, kListed, kFree };

constexpr std::string_view kShells[] = {"bash", "zsh", "fish", "man"};

// What may stand behind a flag.
Values values_of(const Flag& flag) {
  if (flag.arity == Arity::kSwitch) return Values::kNone;
  if (flag.name == "preset" && (flag.commands & kGenerate) != 0) return Values::kListed;
  for (const std::string_view word : {"FILE", "PATH", "FOLDER", "DIR", "PNG"}) {
    if (flag.value_name.find(word) != std::string_view::npos) return Values::kFiles;
  }
  return Values::kFree;
}

std::string preset_words() {
  std::string words;
  for (const std::string& name : preset_names()) words += (words.empty() ? "" : " ") + name;
  return words;
}

std::string command_words() {
  std::string words;
  for (const Command& command : commands()) words += str(words.empty() ? "" : " ", command.name);
  return words;
}

// Commands whose plain argument is a file.
bool takes_file(const Command& command) {
  return command.bit == kDecode || command.bit == kInspect || command.bit == kVerify ||
         command.bit == kQuantize || command.bit == kEncode;
}

std::vector<const Flag*> flags_of(const Command& command) {
  std::vector<const Flag*> found;
  for (const Flag& flag : flags()) {
    if ((flag.commands & command.bit) != 0) found.push_back(&flag);
  }
  return found;
}

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

std::string with_escapes(std::string_view text, std::string_view special) {
  std::string out;
  for (const char letter : text) {
    if (special.find(letter) != std::string_view::npos) out += '\\';
    out += letter;
  }
  return out;
}

// Inside single quotes of a Bourne-like shell.
std::string in_quotes(std::string_view text) {
  std::string out;
  for (const char letter : text)
    out += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return out;
}

// "-o|--output|..." of flags with such values; "" when the command has none.
std::string case_pattern(const Command& command, Values values) {
  std::string pattern;
  for (const Flag* flag : flags_of(command)) {
    if (values_of(*flag) != values || flag->arity == Arity::kOptionalValue) continue;
    if (flag->letter != 0) pattern += str(pattern.empty() ? "" : "|", "-", flag->letter);
    pattern += str(pattern.empty() ? "" : "|", "--", flag->name);
  }
  return pattern;
}

std::string bash_command(const Command& command) {
  std::string words;
  for (const Flag* flag : flags_of(command))
    words += str(words.empty() ? "" : " ", "--", flag->name);
  std::string text = str("    ", command.name, ")\n      case $previous in\n");
  if (const std::string pattern = case_pattern(command, Values::kFiles); !pattern.empty())
    text += str("        ", pattern, ") COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n");
  if (const std::string pattern = case_pattern(command, Values::kListed); !pattern.empty())
    text += str("        ", pattern, ") COMPREPLY=($(compgen -W '", preset_words(),
                "' -- \"$current\")); return ;;\n");
  if (const std::string pattern = case_pattern(command, Values::kFree); !pattern.empty())
    text += str("        ", pattern, ") return ;;\n");
  return text + str("      esac\n      words='", words, "' ;;\n");
}

std::string zsh_flag(const Flag& flag) {
  const std::string help = in_quotes(with_escapes(first_line(flag.help), "[]:\\"));
  const std::string name = in_quotes(with_escapes(flag.value_name, "[]:\\"));
  std::string value;
  switch (values_of(flag)) {
    case Values::kNone:
      break;
    case Values::kFiles:
      value = str(":", name, ":_files");
      break;
    case Values::kListed:
      value = str(":", name, ":(", preset_words(), ")");
      break;
    case Values::kFree:
      value = str(":", name, ": ");
      break;
  }
  if (flag.arity == Arity::kOptionalValue) value = ":" + value;
  if (flag.letter == 0) return str(" \\\n        '*--", flag.name, "[", help, "]", value, "'");
  return str(" \\\n        '*'{-", flag.letter, ",--", flag.name, "}'[", help, "]", value, "'");
}

std::string fish_flag(const Command& command, const Flag& flag) {
  std::string line =
      str("complete -c t2v -n '__fish_seen_subcommand_from ", command.name, "' -l ", flag.name);
  if (flag.letter != 0) line += str(" -s ", flag.letter);
  if (flag.arity == Arity::kValue) line += " -r";
  if (values_of(flag) == Values::kFiles) line += " -F";
  if (values_of(flag) == Values::kFree) line += " -f";
  if (values_of(flag) == Values::kListed) line += str(" -f -a '", preset_words(), "'");
  const std::string help = with_escapes(first_line(flag.help), "'\\");
  return line + (help.empty() ? "\n" : str(" -d '", help, "'\n"));
}

}  // namespace

std::string bash_completion() {
  std::string text =
      str("# bash completion of t2v\n"
          "_t2v() {\n"
          "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=\n"
          "  COMPREPLY=()\n"
          "  if [ \"$COMP_CWORD\" = 1 ]; then\n"
          "    COMPREPLY=($(compgen -W '",
          command_words(),
          " --help --version' -- \"$current\"))\n"
          "    return\n"
          "  fi\n"
          "  case ${COMP_WORDS[1]} in\n");
  for (const Command& command : commands()) text += bash_command(command);
  return text +
         "  esac\n"
         "  if [[ $current == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "  elif [ \"${COMP_WORDS[1]}\" = completion ]; then\n"
         "    COMPREPLY=($(compgen -W 'bash zsh fish man' -- \"$current\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _t2v t2v\n";
}

std::string zsh_completion() {
  std::string text =
      "#compdef t2v\n"
      "_t2v() {\n"
      "  local -a commands\n"
      "  commands=(\n";
  for (const Command& command : commands())
    text += str("    '", command.name, ":", in_quotes(with_escapes(command.summary, ":\\")), "'\n");
  text +=
      "  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  local chosen=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $chosen in\n";
  for (const Command& command : commands()) {
    text += str("    ", command.name, ")\n      _arguments");
    for (const Flag* flag : flags_of(command)) text += zsh_flag(*flag);
    if (takes_file(command)) text += " \\\n        '*:file:_files'";
    if (command.bit == kCompletion) text += " \\\n        '*:shell:(bash zsh fish man)'";
    text += " ;;\n";
  }
  // Sourced, or the first call of a function that was loaded by its file's name.
  return text +
         "  esac\n"
         "}\n"
         "if [[ $funcstack[1] == _t2v ]]; then\n"
         "  _t2v \"$@\"\n"
         "else\n"
         "  compdef _t2v t2v\n"
         "fi\n";
}

std::string fish_completion() {
  std::string text = "# fish completion of t2v\ncomplete -c t2v -e\n";
  for (const Command& command : commands()) {
    text += str("complete -c t2v -n __fish_use_subcommand -f -a ", command.name, " -d '",
                with_escapes(command.summary, "'\\"), "'\n");
  }
  for (const Command& command : commands()) {
    for (const Flag* flag : flags_of(command)) text += fish_flag(command, *flag);
  }
  return text +
         "complete -c t2v -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish man'\n";
}

void run_completion(const Invocation& invocation) {
  require_positionals(invocation, "SHELL");
  invocation.problems.throw_if_any();
  const std::string& shell = invocation.positionals.front();
  if (shell == kShells[0]) return write_stdout(bash_completion());
  if (shell == kShells[1]) return write_stdout(zsh_completion());
  if (shell == kShells[2]) return write_stdout(fish_completion());
  T2V_REQUIRE(shell == kShells[3], ErrorKind::kUsage, "unknown shell: ", quoted(shell),
              " (command line); try bash, zsh, fish or man");
  write_stdout(man_page());
}

}  // namespace t2v::cli
