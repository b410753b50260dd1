// The only file that sees CLI11.
#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string_view>
#include <utility>

#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr const char* kCommandLineWords = "command line";

std::string unknown_flag(const std::string& shown, const std::string& name, const Command* command,
                         const std::string& where) {
  if (canonical_name(name) == "guidance-scale-2") {
    return str("unknown flag ", shown, ": which expert is meant by '2' differs between programs (",
               where, "); try --guidance-scale-high or --guidance-scale-low");
  }
  const unsigned bits = command ? command->bit : static_cast<unsigned>(kAllCommands);
  const std::string near = nearest_flag(name, bits);
  const std::string advice =
      near.empty() ? str("; try t2v ", command ? str(command->name, " ") : "", "--help")
                   : str("; did you mean --", near, "?");
  return str("unknown flag: ", quoted(shown), " is not known (", where, ")", advice);
}

// True when the flag can be used; otherwise the problem is added.
bool usable(const Flag& flag, const Setting& setting, const Command* command, Problems& problems) {
  if (command && (flag.commands & command->bit) == 0) {
    problems.add(str("--", flag.name, ": not a flag of 't2v ", command->name, "' (", setting.where,
                     "); try t2v ", command->name, " --help"));
    return false;
  }
  return true;
}

// All ways to write a name: hyphens and underscores are the same.
std::vector<std::string> spellings_of(std::string_view name) {
  std::vector<std::string> spellings{std::string(name)};
  for (size_t at = name.find('-'); at != std::string_view::npos; at = name.find('-', at + 1)) {
    const size_t known = spellings.size();
    for (size_t i = 0; i < known; ++i) {
      std::string other = spellings[i];
      other[at] = '_';
      spellings.push_back(std::move(other));
    }
  }
  return spellings;
}

// "-p,--prompt": the list of names as CLI11 takes it.
std::string cli11_names(const Flag& flag) {
  std::string names = flag.letter ? str("-", flag.letter) : "";
  for_each_name(str(flag.name, " ", flag.aliases), [&](std::string_view name) {
    for (const std::string& spelling : spellings_of(name)) {
      names += str(names.empty() ? "--" : ",--", spelling);
    }
  });
  return names;
}

// CLI11 splits arguments; what the values mean and every message is ours.
class Parser {
 public:
  Parser(const Command& command, Problems& problems) : command_(command), problems_(problems) {
    app_.set_help_flag();
    app_.allow_extras();
    for (const Flag& flag : flags()) {
      if (find_flag(flag.name, command.bit) != &flag) continue;  // another one has its name here
      CLI::Option* option = flag.arity == Arity::kSwitch ? app_.add_flag(cli11_names(flag))
                                                         : app_.add_option(cli11_names(flag));
      if (flag.arity == Arity::kOptionalValue) option->expected(0, 1);
      option->take_all();
      options_.emplace_back(&flag, option);
    }
  }

  CommandLine parse(std::vector<std::string> arguments) {
    CommandLine line{.command = &command_, .settings = {}, .positionals = {}};
    const std::string last = arguments.empty() ? "" : arguments.back();
    std::reverse(arguments.begin(), arguments.end());
    try {
      app_.parse(std::move(arguments));
    } catch (
        const CLI::ParseError&) {  // values are strings: all that can be wrong is a missing one
      problems_.add(
          str(last, ": a value is missing (command line); try t2v ", command_.name, " --help"));
      return line;
    }
    for (const auto& [flag, option] : options_) {
      for (const std::string& value : option->results()) add(*flag, value, line);
    }
    add_remaining(app_.remaining(), line);
    return line;
  }

 private:
  void add(const Flag& flag, const std::string& value, CommandLine& line) {
    Setting setting{.flag = &flag, .value = value, .where = kCommandLineWords};
    if (flag.arity == Arity::kSwitch) {
      if (value != "true") {
        problems_.add(
            str("--", flag.name, ": takes no value, got ", quoted(value), " (command line)"));
        return;
      }
      setting.value.clear();
    }
    if (!usable(flag, setting, &command_, problems_)) return;
    line.help = line.help || flag.name == "help";
    line.version = line.version || flag.name == "version";
    line.settings.push_back(std::move(setting));
  }

  // Plain arguments and unknown flags, in order.
  void add_remaining(const std::vector<std::string>& remaining, CommandLine& line) {
    bool flags_ended = false;
    for (size_t i = 0; i < remaining.size(); ++i) {
      const std::string& argument = remaining[i];
      if (flags_ended || argument.size() < 2 || argument[0] != '-') {
        line.positionals.push_back(argument);
      } else if (argument == "--") {
        flags_ended = true;
      } else {
        const size_t equals = std::min(argument.find('='), argument.size());
        const std::string shown = argument.substr(0, equals);
        problems_.add(unknown_flag(shown, shown.substr(shown.find_first_not_of('-')), &command_,
                                   kCommandLineWords));
        // What follows is most likely its value: no second problem for one mistake.
        const bool has_value = i + 1 < remaining.size() && !remaining[i + 1].starts_with("-");
        if (equals == argument.size() && has_value) ++i;
      }
    }
  }

  const Command& command_;
  Problems& problems_;
  CLI::App app_;
  std::vector<std::pair<const Flag*, CLI::Option*>> options_;
};

// CLI11 takes the next argument as the value of "--flag=": make the empty value an argument.
std::vector<std::string> with_empty_values(const std::vector<std::string>& arguments) {
  std::vector<std::string> out;
  for (const std::string& argument : arguments) {
    const bool empty_value = argument.starts_with("--") && argument.size() > 3 &&
                             argument.find('=') == argument.size() - 1;
    const Flag* flag = empty_value ? find_flag(argument.substr(2, argument.size() - 3)) : nullptr;
    if (flag && flag->arity == Arity::kValue) {
      out.push_back(argument.substr(0, argument.size() - 1));
      out.emplace_back();
    } else {
      out.push_back(argument);
    }
  }
  return out;
}

// The first argument when it is no command of this version.
CommandLine line_without_command(const std::vector<std::string>& arguments, Problems& problems) {
  CommandLine line;
  const std::string name = arguments.empty() ? "" : arguments[0];
  if (name == "help") {
    line.help = true;
    if (arguments.size() > 1) line.command = find_command(arguments[1]);
  } else if (name == "--help" || name == "-h") {
    line.help = true;
  } else if (name == "--version") {
    line.version = true;
  } else if (!name.empty() && name[0] != '-') {
    const std::string near = nearest_command(name);
    problems.add(str("unknown command: ", quoted(name), " is not known (command line)",
                     near.empty() ? "; try t2v --help" : str("; did you mean ", near, "?")));
  } else {
    problems.add(
        "no command: t2v needs to know what to do before any flag (command line); "
        "try t2v generate --prompt \"a red circle\" -o out.mp4, or t2v --help");
  }
  return line;
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments, Problems& problems) {
  const Command* command = arguments.empty() ? nullptr : find_command(arguments[0]);
  if (!command) return line_without_command(arguments, problems);
  return Parser(*command, problems)
      .parse(with_empty_values({arguments.begin() + 1, arguments.end()}));
}

void add_file_setting(const Command& command, const std::string& name, const Setting& given,
                      std::vector<Setting>& settings, Problems& problems) {
  const Flag* flag = find_flag(name, command.bit);
  if (!flag) {
    problems.add(unknown_flag(name, name, &command, given.where));
    return;
  }
  Setting setting = given;
  setting.flag = flag;
  if (!usable(*flag, setting, &command, problems)) return;
  if (flag->name == "config" || flag->name == "help" || flag->name == "version") {
    problems.add(str("--", flag->name, ": only for the command line (", given.where, ")"));
    return;
  }
  if (flag->arity == Arity::kSwitch) {
    if (given.value == "false") return;
    if (given.value != "true") {
      problems.add(str("invalid value for --", flag->name, ": ", quoted(given.value),
                       " is not true or false (", given.where, ")"));
      return;
    }
    setting.value.clear();
  }
  settings.push_back(std::move(setting));
}

}  // namespace t2v::cli
