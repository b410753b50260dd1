#include "cli/command_line.h"

#include <algorithm>
#include <optional>
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
  if (flag.commands == 0) {
    const std::string_view neutral = flag.value_name;
    const bool accepted = !setting.value.empty() && setting.value.find(' ') == std::string::npos &&
                          str(" ", neutral, " ").find(str(" ", setting.value, " ")) != std::string::npos;
    if (!accepted) {
      problems.add(str("--", flag.name, " is not in this version of t2v (",
                       setting.where, "); try without it"));
    }
    return false;
  }
  if (command && (flag.commands & command->bit) == 0) {
    problems.add(str("--", flag.name, ": not a flag of 't2v ", command->name, "' (", setting.where,
                     "); try t2v ", command->name, " --help"));
    return false;
  }
  return true;
}

class Parser {
 public:
  Parser(const std::vector<std::string>& arguments, Problems& problems)
      : arguments_(arguments), problems_(problems) {}

  CommandLine parse() {
    read_command();
    while (next_ < arguments_.size()) {
      const std::string& argument = arguments_[next_++];
      if (flags_ended_ || argument == "-" || argument.empty() || argument[0] != '-') {
        line_.positionals.push_back(argument);
      } else if (argument == "--") {
        flags_ended_ = true;
      } else if (argument[1] == '-') {
        read_long(argument);
      } else {
        read_letters(argument);
      }
    }
    return std::move(line_);
  }

 private:
  // The command is the first argument; --help and --version may stand alone.
  void read_command() {
    if (arguments_.empty() || arguments_[0].starts_with("-")) return;
    const std::string& name = arguments_[next_++];
    line_.command = find_command(name);
    if (line_.command) return;
    if (name == "help") {
      line_.help = true;
      if (next_ < arguments_.size()) line_.command = find_command(arguments_[next_]);
      next_ = arguments_.size();
    } else if (is_later_command(name)) {
      problems_.add(str("t2v ", name, ": this command is not in this version of t2v; try t2v --help"));
      next_ = arguments_.size();
    } else {
      const std::string near = nearest_command(name);
      problems_.add(str("unknown command: ", quoted(name), " is not known (command line)",
                        near.empty() ? "; try t2v --help" : str("; did you mean ", near, "?")));
      next_ = arguments_.size();
    }
  }

  void read_long(const std::string& argument) {
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::optional<std::string> attached;
    if (equals != std::string::npos) attached = argument.substr(equals + 1);
    const Flag* flag = find_flag(name);
    if (!flag) {
      problems_.add(unknown_flag("--" + name, name, line_.command, kCommandLineWords));
      skip_value_of_unknown(attached.has_value());
      return;
    }
    add(*flag, attached);
  }

  // -p TEXT, -pTEXT, -vq: letters of switches may stand together.
  void read_letters(const std::string& argument) {
    for (size_t i = 1; i < argument.size(); ++i) {
      const Flag* flag = find_flag(argument[i]);
      if (!flag) {
        problems_.add(unknown_flag(argument, argument.substr(1), line_.command, kCommandLineWords));
        skip_value_of_unknown(false);
        return;
      }
      if (flag->arity == Arity::kSwitch) {
        add(*flag, std::nullopt);
        continue;
      }
      std::optional<std::string> attached;
      if (i + 1 < argument.size()) attached = argument.substr(argument[i + 1] == '=' ? i + 2 : i + 1);
      add(*flag, attached);
      return;
    }
  }

  // What follows an unknown flag is most likely its value: no second problem for one mistake.
  void skip_value_of_unknown(bool attached) {
    if (!attached && next_ < arguments_.size() && !arguments_[next_].starts_with("-")) ++next_;
  }

  void add(const Flag& flag, const std::optional<std::string>& attached) {
    Setting setting{.flag = &flag, .value = attached.value_or(""), .where = kCommandLineWords};
    if (flag.arity == Arity::kValue && !attached) {
      if (next_ >= arguments_.size()) {
        problems_.add(str("--", flag.name, ": a value is missing (command line)",
                          flag.commands ? str("; try --", flag.name, " ", flag.value_name) : ""));
        return;
      }
      setting.value = arguments_[next_++];
    } else if (flag.arity == Arity::kOptionalValue && !attached && next_ < arguments_.size() &&
               !arguments_[next_].empty() && arguments_[next_][0] != '-') {
      setting.value = arguments_[next_++];
    } else if (flag.arity == Arity::kSwitch && attached) {
      problems_.add(str("--", flag.name, ": takes no value, got ", quoted(*attached), " (command line)"));
      return;
    }
    if (!usable(flag, setting, line_.command, problems_)) return;
    line_.help = line_.help || flag.name == "help";
    line_.version = line_.version || flag.name == "version";
    line_.settings.push_back(std::move(setting));
  }

  const std::vector<std::string>& arguments_;
  Problems& problems_;
  CommandLine line_;
  size_t next_ = 0;
  bool flags_ended_ = false;
};

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments, Problems& problems) {
  return Parser(arguments, problems).parse();
}

void add_file_setting(const Command& command, const std::string& name, const Setting& given,
                      std::vector<Setting>& settings, Problems& problems) {
  const Flag* flag = find_flag(name);
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
