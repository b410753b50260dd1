// The flags of one run with their values: who wins, which value is valid. The only file of the
// program that reads the environment.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/command_line.h"
#include "cli/problems.h"
#include "t2v/request.h"

namespace t2v::cli {

// Bounds of a number; open ends exclude the bound itself.
struct RealRange {
  double low = 0;
  double high = 0;
  bool low_open = false;
};

// Name and value of an enumeration's choice.
template <typename Value>
using Choice = std::pair<std::string_view, Value>;

// Typed access. A wrong value adds a problem and reads as absent.
class Flags {
 public:
  Flags(std::vector<Setting> settings, Problems& problems)
      : settings_(std::move(settings)), problems_(&problems) {}

  // The setting that wins: the highest origin, of that the last one. Null when absent.
  [[nodiscard]] const Setting* find(std::string_view name) const;
  // All settings of the highest origin that has one of the names, in order.
  [[nodiscard]] std::vector<Setting> find_all(std::initializer_list<std::string_view> names) const;
  [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }
  [[nodiscard]] const std::vector<Setting>& settings() const noexcept { return settings_; }

  [[nodiscard]] std::optional<std::string> text(std::string_view name) const;
  // A path: not empty.
  [[nodiscard]] std::string path(std::string_view name) const;
  [[nodiscard]] std::optional<int64_t> integer(std::string_view name, int64_t low,
                                               int64_t high) const;
  // A size of memory or disk.
  [[nodiscard]] std::optional<int64_t> bytes(std::string_view name) const;
  [[nodiscard]] std::optional<uint64_t> seed(std::string_view name) const;
  [[nodiscard]] std::optional<double> real(std::string_view name, RealRange range) const;

  template <typename Value>
  [[nodiscard]] std::optional<Value> choice(std::string_view name,
                                            std::initializer_list<Choice<Value>> choices) const {
    const Setting* setting = find(name);
    if (!setting) return std::nullopt;
    std::string names;
    for (const auto& [text, value] : choices) {
      if (setting->value == text) return value;
      names += (names.empty() ? "" : ", ") + std::string(text);
    }
    refuse(*setting, "is not one of " + names);
    return std::nullopt;
  }

  // Adds "invalid value for --flag: 'value' <why> (where)".
  void refuse(const Setting& setting, const std::string& why) const;
  [[nodiscard]] Problems& problems() const noexcept { return *problems_; }

 private:
  std::vector<Setting> settings_;
  Problems* problems_;
};

enum class ProgressMode { kAuto, kBar, kPlain, kJson, kNone };
enum class Verbosity { kQuiet, kNormal, kVerbose, kDebug };

// How the program talks.
struct TalkOptions {
  ProgressMode progress = ProgressMode::kAuto;
  Verbosity verbosity = Verbosity::kNormal;
  bool dumb_terminal = false;     // TERM is unset or "dumb"
  bool profile = false;           // --profile was given
  std::string profile_path = {};  // "" = a table on stderr
  std::string trace_path = {};    // "" = none
  std::string metrics_path = {};  // "" = none
};

// One run: parsed, merged with --config and the environment. positionals: the command's own.
struct Invocation {
  const Command* command = nullptr;
  std::vector<Setting> settings;
  std::vector<std::string> positionals;
  bool help = false;
  bool version = false;
  Problems problems;  // of flags; the command adds those of their values and throws
};

// Throws Error{kUsage} when there is no command, Error{kInput} for the config file.
Invocation read_invocation(const std::vector<std::string>& arguments);

// The model that lies beside the program, in the build folder or below share/; "" when none does.
std::string shipped_model();

// The value of an environment variable; "" when it is not set.
std::string environment(const char* name);

// Where blocks of remote models are kept unless --cache-dir says otherwise; "" when there is no
// home.
std::string user_cache_folder();

// The C2PA library that T2V_C2PA_LIB names; "" when it names none.
std::string c2pa_library();

// Everything of a request but the prompt.
Request read_request(const Flags& flags);

TalkOptions read_talk_options(const Flags& flags);

}  // namespace t2v::cli
