#include "cli/man_page.h"

#include <string_view>

#include "cli/flag_table.h"
#include "cli/help.h"
#include "core/check.h"
#include "t2v/version.h"

namespace t2v::cli {
namespace {

using core::str;

// Text of a line: backslashes and hyphens are themselves, no line begins a request.
std::string plain(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    const bool starts = out.empty() || out.back() == '\n';
    if (starts && (letter == '.' || letter == '\'')) out += "\\&";
    if (letter == '\\') {
      out += "\\e";
    } else if (letter == '-') {
      out += "\\-";
    } else {
      out += letter;
    }
  }
  return out;
}

std::string commands_of(const Flag& flag) {
  std::string names;
  for (const Command& command : commands()) {
    if ((flag.commands & command.bit) != 0) names += str(names.empty() ? "" : ", ", command.name);
  }
  return names;
}

std::string flag_entry(const Flag& flag) {
  std::string text = ".TP\n";
  if (flag.letter != 0) text += str("\\fB\\-", flag.letter, "\\fR, ");
  text += str("\\fB\\-\\-", plain(flag.name), "\\fR");
  const std::string value = plain(flag.value_name);
  if (flag.arity == Arity::kValue) text += str(" \\fI", value, "\\fR");
  if (flag.arity == Arity::kOptionalValue) text += str(" [\\fI", value, "\\fR]");
  text += "\n";
  if (!flag.help.empty()) text += plain(flag.help) + "\n";
  std::string aliases;
  for_each_name(flag.aliases, [&](std::string_view alias) {
    aliases += str(aliases.empty() ? "" : ", ", "\\-\\-", plain(alias));
  });
  if (!aliases.empty()) text += str("(also ", aliases, ")\n");
  if ((flag.commands & kAllCommands) != kAllCommands)
    text += str("[", plain(commands_of(flag)), "]\n");
  return text;
}

// Of the text here; builds of one source are to be the same.
constexpr const char* kDate = "2026-11-21";

constexpr std::string_view kEnd =
    ".SH EXIT STATUS\n"
    "0 done, 1 a bug, 2 usage, 3 model files, 4 prompt or another input, 5 output,\n"
    "6 memory, 7 device, 8 remote storage (try again), 9 a batch with failures,\n"
    "10 not finite numbers or black frames, 130 and 143 interrupted.\n"
    ".SH ENVIRONMENT\n"
    ".TP\n\\fBT2V_MODEL\\fR, \\fBT2V_BACKEND\\fR, \\fBT2V_CACHE\\fR, \\fBT2V_REMOTE_TIMEOUT\\fR, "
    "\\fBT2V_IO\\fR\n"
    "\\-\\-model, \\-\\-backend, \\-\\-cache\\-dir, \\-\\-remote\\-timeout and \\-\\-io; flags "
    "win.\n"
    ".TP\n\\fBT2V_C2PA_LIB\\fR\n"
    "The library libc2pa_c.so that \\-\\-c2pa\\-cert signs with.\n"
    ".SH EXAMPLES\n"
    ".nf\n"
    "t2v generate \\-\\-prompt \"a small red circle moves right\" \\-o circle.mp4\n"
    "t2v generate \\-m /models/Wan2.2\\-T2V\\-A14B \\-\\-prompts list.txt \\-o videos/\n"
    "t2v inspect circle.mp4 \\-\\-command\n"
    ".fi\n";

}  // namespace

std::string man_page() {
  std::string text =
      str(".TH T2V 1 \"", kDate, "\" \"t2v ", kVersion,
          "\" \"User Commands\"\n"
          ".SH NAME\nt2v \\- text to video with Wan models\n"
          ".SH SYNOPSIS\n\\fBt2v\\fR \\fICOMMAND\\fR [\\fIFLAGS\\fR]\n"
          ".SH DESCRIPTION\n"
          "Turns text into video. Hyphen and underscore are the same in flag names.\n"
          "In (round brackets): the default; in [square brackets]: the commands of "
          "a flag.\n"
          ".SH COMMANDS\n");
  for (const Command& command : commands()) {
    text += str(".TP\n\\fBt2v ", plain(command.name), "\\fR ", plain(command.usage), "\n",
                plain(command.summary), "\n");
  }
  text += ".SH FLAGS\n";
  for (const auto& [group, title] : flag_groups()) {
    std::string entries;
    for (const Flag& flag : flags()) {
      if (flag.commands != 0 && flag.group == group) entries += flag_entry(flag);
    }
    if (!entries.empty()) text += str(".SS ", title, "\n", entries);
  }
  return text + std::string(kEnd);
}

}  // namespace t2v::cli
