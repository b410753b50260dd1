// Splits a command line (or a config file) into settings: flag, value, where it was given.
#pragma once

#include <string>
#include <vector>

#include "cli/flag_table.h"
#include "cli/problems.h"

namespace t2v::cli {

// Later ones win over earlier ones.
enum class Origin { kEnvironment, kConfig, kCommandLine, kPromptFile };

struct Setting {
  const Flag* flag = nullptr;
  std::string value;  // "" for switches and for optional values that were left out
  std::string where;  // "command line", "config file 'x', line 3"
  Origin origin = Origin::kCommandLine;
};

struct CommandLine {
  const Command* command = nullptr;      // null: only --help or --version, or a problem
  std::vector<Setting> settings;         // in order
  std::vector<std::string> positionals;  // everything that is no flag
  bool help = false;
  bool version = false;
};

// arguments: without the program's name. Usage problems are added, never thrown.
CommandLine parse_command_line(const std::vector<std::string>& arguments, Problems& problems);

// Adds one `name = value` of a file. switch_value: "true" and "false" for switches.
void add_file_setting(const Command& command, const std::string& name, const Setting& given,
                      std::vector<Setting>& settings, Problems& problems);

}  // namespace t2v::cli
