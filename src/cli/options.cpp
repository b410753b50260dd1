#include "cli/options.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "cli/config_file.h"
#include "cli/numbers.h"
#include "cli/prompt_at.h"
#include "cli/sampling_words.h"
#include "core/check.h"
#include "core/module.h"
#include "t2v/mlperf.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;
using core::str;

constexpr int64_t kMaxSide = 16384;  // px; keeps every product of sizes within 64 bits
constexpr int64_t kMaxFrames = 100001;
constexpr int64_t kMaxSteps = 1000;  // the model's own number of training timesteps

void add_environment(const Command& command, std::vector<Setting>& settings) {
  for (const auto& [variable, name] : {std::pair{"T2V_MODEL", "model"},
                                       {"T2V_BACKEND", "backend"},
                                       {"T2V_CACHE", "cache-dir"},
                                       {"T2V_REMOTE_TIMEOUT", "remote-timeout"},
                                       {"T2V_IO", "io"}}) {
    const Flag* flag = find_flag(name, command.bit);
    const std::string value = environment(variable);
    if (value.empty() || (flag->commands & command.bit) == 0) continue;
    settings.push_back({.flag = flag,
                        .value = value,
                        .where = str("environment variable ", variable),
                        .origin = Origin::kEnvironment});
  }
}

}  // namespace

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string user_cache_folder() {
  const std::string cache = environment("XDG_CACHE_HOME");
  if (cache.starts_with('/')) return cache + "/t2v";
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/.cache/t2v";
}

std::string c2pa_library() { return environment("T2V_C2PA_LIB"); }

std::string shipped_model() {
  const fs::path own = core::own_folder();
  std::error_code ignored;
  for (const char* place : {"models/shapes", "../models/shapes", "../share/t2v/models/shapes",
                            "../../share/t2v/models/shapes"}) {
    const fs::path folder = (own / place).lexically_normal();
    if (fs::is_directory(folder, ignored)) return folder.string();
  }
  return "";
}

namespace {

// --size, --width and --height of one origin exclude each other; a higher origin replaces sides.
void read_size(const Flags& flags, Request& request) {
  const auto sizes = flags.find_all({"size", "width", "height"});
  const bool whole = std::any_of(sizes.begin(), sizes.end(), [](const Setting& setting) {
    return setting.flag->name == "size";
  });
  const bool sides = std::any_of(sizes.begin(), sizes.end(), [](const Setting& setting) {
    return setting.flag->name != "size";
  });
  if (whole && sides) {
    flags.problems().add(str("--size: given together with --width or --height (",
                             sizes.front().where, "); try only one of the two forms"));
    return;
  }
  if (const Setting* setting = flags.find("size")) {
    if (const auto size = parse_size(setting->value);
        !size || size->width > kMaxSide || size->height > kMaxSide) {
      flags.refuse(*setting, str("is not WIDTHxHEIGHT from 1 to ", kMaxSide, ", 480p or 720p"));
    } else {
      request.width = size->width;
      request.height = size->height;
    }
  }
  const Setting* size = flags.find("size");
  for (const char* name : {"width", "height"}) {
    const Setting* side = flags.find(name);
    if (!side || (size && size->origin > side->origin)) continue;
    (name[0] == 'w' ? request.width : request.height) = flags.integer(name, 1, kMaxSide);
  }
}

void read_length(const Flags& flags, Request& request) {
  const auto given = flags.find_all({"frames", "seconds"});
  for (const Setting& setting : given) {
    if (setting.flag->name == "frames") request.frames = flags.integer("frames", 1, kMaxFrames);
    if (setting.flag->name == "seconds") {
      request.seconds = flags.real("seconds", {.low = 0, .high = 36000, .low_open = true});
    }
  }
  if (request.frames && request.seconds) {
    flags.problems().add(str("--seconds: given together with --frames (", given.front().where,
                             "); try only one of the two"));
  }
}

void read_preset(const Flags& flags, Request& request) {
  const Setting* setting = flags.find("preset");
  if (!setting) return;
  request.preset = setting->value;
  if (request.preset == "mlperf" && !request.seed) request.seed = mlperf::kSeed;
  const auto& names = preset_names();
  if (std::find(names.begin(), names.end(), setting->value) != names.end()) return;
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  flags.refuse(*setting, "is not one of " + list);
}

// guidance_scale of the command line also beats the per-expert values of a config file.
void read_guidance(const Flags& flags, Request& request) {
  constexpr RealRange kRange{.low = 0, .high = 1000};
  request.guidance_scale = flags.real("guidance-scale", kRange);
  const Setting* both = flags.find("guidance-scale");
  const auto beaten = [&](const char* name) {
    const Setting* one = flags.find(name);
    return one && both && both->origin > one->origin;
  };
  if (!beaten("guidance-scale-high"))
    request.guidance_scale_high = flags.real("guidance-scale-high", kRange);
  if (!beaten("guidance-scale-low"))
    request.guidance_scale_low = flags.real("guidance-scale-low", kRange);
}

void read_steps(const Flags& flags, Request& request) {
  std::string why;
  if (const Setting* setting = flags.find("t-list")) {
    if (auto list = parse_t_list(setting->value, why)) {
      request.t_list = std::move(*list);
    } else {
      flags.refuse(*setting, why);
    }
  }
  if (const Setting* setting = flags.find("step-cache")) {
    request.step_cache = parse_step_cache(setting->value, why);
    if (!request.step_cache) flags.refuse(*setting, why);
  }
}

void read_causal(const Flags& flags, Request& request) {
  request.causal = flags.path("causal");
  request.prompt_change =
      flags.choice<PromptChange>("prompt-change", {{"reset-cross", PromptChange::kResetCross},
                                                   {"recache", PromptChange::kRecache},
                                                   {"flush", PromptChange::kFlush}});
  request.sink_rope = flags.choice<SinkRope>(
      "sink-rope", {{"absolute", SinkRope::kAbsolute}, {"relative", SinkRope::kRelative}});
  for (const Setting& setting : flags.find_all({"prompt-at"})) {
    std::string why;
    const auto change = parse_prompt_at(setting.value, why);
    if (change && !request.prompts_at.empty() &&
        change->seconds <= request.prompts_at.back().seconds) {
      flags.refuse(setting, "is not later than the one before");
    } else if (change) {
      request.prompts_at.push_back(*change);
    } else {
      flags.refuse(setting, why);
    }
  }
}

}  // namespace

const Setting* Flags::find(std::string_view name) const {
  const Setting* best = nullptr;
  for (const Setting& setting : settings_) {
    if (setting.flag->name == name && (!best || setting.origin >= best->origin)) best = &setting;
  }
  return best;
}

std::vector<Setting> Flags::find_all(std::initializer_list<std::string_view> names) const {
  std::vector<Setting> found;
  for (const Setting& setting : settings_) {
    if (std::find(names.begin(), names.end(), setting.flag->name) == names.end()) continue;
    if (!found.empty() && setting.origin > found.front().origin) found.clear();
    if (found.empty() || setting.origin == found.front().origin) found.push_back(setting);
  }
  return found;
}

void Flags::refuse(const Setting& setting, const std::string& why) const {
  problems_->add(str("invalid value for --", setting.flag->name, ": ", quoted(setting.value), " ",
                     why, " (", setting.where, ")"));
}

std::optional<std::string> Flags::text(std::string_view name) const {
  const Setting* setting = find(name);
  return setting ? std::optional(setting->value) : std::nullopt;
}

std::string Flags::path(std::string_view name) const {
  const Setting* setting = find(name);
  if (!setting) return "";
  if (setting->value.empty()) refuse(*setting, "is empty, expected a path");
  return setting->value;
}

std::optional<int64_t> Flags::integer(std::string_view name, int64_t low, int64_t high) const {
  const Setting* setting = find(name);
  if (!setting) return std::nullopt;
  const auto value = parse_int64(setting->value);
  if (value && *value >= low && *value <= high) return value;
  refuse(*setting, str("is not a whole number from ", low, " to ", high));
  return std::nullopt;
}

std::optional<int64_t> Flags::bytes(std::string_view name) const {
  const Setting* setting = find(name);
  if (!setting) return std::nullopt;
  const auto value = parse_bytes(setting->value);
  if (!value) refuse(*setting, "is not a size above 0 such as 12GiB, 500MiB or 8000000000 (bytes)");
  return value;
}

std::optional<uint64_t> Flags::seed(std::string_view name) const {
  const Setting* setting = find(name);
  if (!setting) return std::nullopt;
  const auto value = parse_uint64(setting->value);
  if (!value) refuse(*setting, "is not a whole number from 0 to 18446744073709551615");
  return value;
}

std::optional<double> Flags::real(std::string_view name, RealRange range) const {
  const Setting* setting = find(name);
  if (!setting) return std::nullopt;
  const auto value = parse_finite(setting->value);
  const bool above = value && (range.low_open ? *value > range.low : *value >= range.low);
  if (above && *value <= range.high) return value;
  refuse(*setting, str("is not a number ", range.low_open ? "above " : "from ", range.low,
                       range.low_open ? " and up to " : " to ", range.high));
  return std::nullopt;
}

Invocation read_invocation(const std::vector<std::string>& arguments) {
  Problems problems;
  CommandLine line = parse_command_line(arguments, problems);
  Invocation invocation{.command = line.command,
                        .settings = {},
                        .positionals = std::move(line.positionals),
                        .help = line.help,
                        .version = line.version,
                        .problems = {}};
  if (line.help || line.version) return invocation;
  if (line.command) {
    add_environment(*line.command, invocation.settings);
    const Flags given(line.settings, problems);
    if (const std::string path = given.path("config"); !path.empty()) {
      const auto settings = read_config_file(path, *line.command, problems);
      invocation.settings.insert(invocation.settings.end(), settings.begin(), settings.end());
    }
  }
  if (!line.command) problems.throw_if_any();
  invocation.problems = std::move(problems);
  invocation.settings.insert(invocation.settings.end(), line.settings.begin(), line.settings.end());
  return invocation;
}

Request read_request(const Flags& flags) {
  Request request;
  request.negative_prompt = flags.text("negative-prompt");
  read_size(flags, request);
  read_length(flags, request);
  request.fps = flags.real("fps", {.low = 0, .high = 1000, .low_open = true});
  request.steps = flags.integer("steps", 1, kMaxSteps);
  request.solver = flags.choice<Solver>("solver", {{"unipc", Solver::kUniPC},
                                                   {"euler", Solver::kEuler},
                                                   {"dpm++", Solver::kDpmpp},
                                                   {"renoise", Solver::kRenoise}});
  request.sigma_table = flags.choice<SigmaTable>(
      "sigma-table", {{"wan", SigmaTable::kWan}, {"diffusers", SigmaTable::kDiffusers}});
  request.shift = flags.real("shift", {.low = 0, .high = 1000, .low_open = true});
  read_guidance(flags, request);
  request.boundary = flags.real("boundary", {.low = 0, .high = 1});
  request.seed = flags.seed("seed");
  request.latents_path = flags.path("latents");
  request.image_path = flags.path("image");
  request.last_image_path = flags.path("last-image");
  read_preset(flags, request);
  read_steps(flags, request);
  read_causal(flags, request);
  return request;
}

TalkOptions read_talk_options(const Flags& flags) {
  TalkOptions options;
  options.progress = flags
                         .choice<ProgressMode>("progress", {{"auto", ProgressMode::kAuto},
                                                            {"bar", ProgressMode::kBar},
                                                            {"plain", ProgressMode::kPlain},
                                                            {"json", ProgressMode::kJson},
                                                            {"none", ProgressMode::kNone}})
                         .value_or(ProgressMode::kAuto);
  const size_t verbose = flags.find_all({"verbose"}).size();
  if (verbose > 0 && flags.has("quiet") &&
      flags.find("verbose")->origin == flags.find("quiet")->origin) {
    flags.problems().add(
        "--quiet: given together with --verbose (command line); try only one of the two");
  }
  if (flags.has("quiet")) {
    options.verbosity = Verbosity::kQuiet;
  } else if (verbose > 0) {
    options.verbosity = verbose > 1 ? Verbosity::kDebug : Verbosity::kVerbose;
  }
  const std::string terminal = environment("TERM");
  options.dumb_terminal = terminal.empty() || terminal == "dumb";
  options.profile = flags.has("profile");
  options.profile_path = flags.text("profile").value_or("");
  options.trace_path = flags.path("trace");
  options.metrics_path = flags.path("metrics-file");
  return options;
}

}  // namespace t2v::cli
