// Every flag of the program as one table: names, values, commands, help. The contract is cli.md.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

namespace t2v::cli {

// Commands as bits, so that a flag can belong to several.
enum CommandBit : unsigned {
  kGenerate = 1,
  kDecode = 2,
  kInspect = 4,
  kPresets = 8,
  kTokenize = 16,
  kVerify = 32,
  kBench = 64,
  kQuantize = 128,
  kEncode = 256,
  kDoctor = 512,
  kCalibrate = 1024,
  kCompletion = 2048,
  kAllCommands = 4095,
};

struct Command {
  CommandBit bit;
  std::string_view name;
  std::string_view usage;    // what follows the name
  std::string_view summary;  // one line
};

enum class Arity { kSwitch, kValue, kOptionalValue };

// Where else a flag may be set, as bits.
enum PlaceBit : unsigned {
  kPromptLine = 1,  // a field of one line of a prompt file
  kRecipe = 2,      // a key of an embedded recipe: goes into the command of `inspect --command`
};

// Headings of the help text, in its order.
enum class Group {
  kMain,
  kModel,
  kPicture,
  kSampling,
  kCausal,
  kBatch,
  kVideo,
  kRunning,
  kReports
};

struct Flag {
  std::string_view name;  // long name with hyphens, without the leading two
  char letter;            // 0 = none
  Arity arity;
  unsigned commands;  // CommandBits
  Group group;
  std::string_view value_name;  // shown in the help
  std::string_view help;
  std::string_view aliases;  // long names, separated by spaces
  unsigned places = 0;       // PlaceBits
};

std::span<const Command> commands();
std::span<const Flag> flags();

const Command* find_command(std::string_view name);

// By long name or alias without the leading hyphens; hyphen and underscore are the same. Of flags
// that share a name, the one of the commands.
const Flag* find_flag(std::string_view name, unsigned command_bits = kAllCommands);
const Flag* find_flag(char letter);

// The nearest name of the table for "did you mean"; "" when nothing is near.
std::string nearest_flag(std::string_view name, unsigned command_bits);
std::string nearest_command(std::string_view name);

// Calls use(name) for each name of a list separated by spaces.
template <typename Use>
void for_each_name(std::string_view names, const Use& use) {
  while (!names.empty()) {
    const size_t end = std::min(names.find(' '), names.size());
    if (end > 0) use(names.substr(0, end));
    names.remove_prefix(std::min(end + 1, names.size()));
  }
}

// Long names with hyphens; lower case stays as it is.
std::string canonical_name(std::string_view name);

}  // namespace t2v::cli
