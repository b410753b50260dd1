#include "cli/help.h"

#include <utility>

#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr size_t kHelpColumn = 32;

constexpr std::pair<Group, const char*> kGroups[] = {
    {Group::kMain, "What to make"},         {Group::kModel, "Model files"},
    {Group::kPicture, "Picture and time"},  {Group::kSampling, "Sampling"},
    {Group::kCausal, "Causal checkpoints"}, {Group::kBatch, "Many videos"},
    {Group::kVideo, "Video file"},          {Group::kRunning, "How to run"},
    {Group::kReports, "What to tell"},
};

std::string flag_line(const Flag& flag) {
  std::string line = flag.letter ? str("  -", flag.letter, ", ") : "      ";
  line += str("--", flag.name);
  if (flag.arity == Arity::kValue) line += str(" ", flag.value_name);
  if (flag.arity == Arity::kOptionalValue) line += str(" [", flag.value_name, "]");
  std::string help(flag.help);
  if (!flag.aliases.empty()) {
    std::string names(flag.aliases);
    for (size_t at = names.find(' '); at != std::string::npos; at = names.find(' ', at + 2)) {
      names.replace(at, 1, ", --");
    }
    help += str(help.empty() ? "" : "\n", "also --", names);
  }
  const std::string margin(kHelpColumn, ' ');
  for (size_t at = help.find('\n'); at != std::string::npos; at = help.find('\n', at + 1)) {
    help.insert(at + 1, margin);
  }
  if (help.empty()) return line + "\n";
  line +=
      line.size() + 2 > kHelpColumn ? "\n" + margin : std::string(kHelpColumn - line.size(), ' ');
  return line + help + "\n";
}

}  // namespace

std::span<const std::pair<Group, const char*>> flag_groups() { return kGroups; }

std::string program_help() {
  std::string text =
      "t2v turns text into video with Wan models.\n\n"
      "  t2v generate --prompt \"a small red circle moves right on a black background\" -o "
      "out.mp4\n\n"
      "Commands:\n";
  for (const Command& command : commands()) {
    text +=
        str("  ", command.name, std::string(17 - command.name.size(), ' '), command.summary, "\n");
  }
  return text +
         "\nt2v COMMAND --help tells a command's flags; t2v --version the version.\n"
         "Exit codes: 0 done, 1 bug, 2 usage, 3 model, 4 input, 5 output, 6 memory, 7 device,\n"
         "8 remote storage, 9 batch with failures, 10 numeric failure, 130 and 143 interrupted.\n";
}

std::string command_help(const Command& command) {
  std::string text = str("t2v ", command.name, " ", command.usage, "\n", command.summary, "\n");
  for (const auto& [group, title] : flag_groups()) {
    std::string lines;
    for (const Flag& flag : flags()) {
      if ((flag.commands & command.bit) != 0 && flag.group == group) lines += flag_line(flag);
    }
    if (!lines.empty()) text += str("\n", title, ":\n", lines);
  }
  return text +
         "\nHyphen and underscore are the same in flag names; in (round brackets): the default.\n";
}

}  // namespace t2v::cli
