// The program: picks the command, and turns every exception into one line and an exit code.
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "cli/commands.h"
#include "cli/flag_table.h"
#include "cli/help.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "core/check.h"
#include "core/escape.h"
#include "core/log.h"
#include "core/module.h"
#include "t2v/error.h"
#include "t2v/version.h"

namespace t2v::cli {

namespace {

int exit_code(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInternal:
      return 1;
    case ErrorKind::kUsage:
      return 2;
    case ErrorKind::kModel:
      return 3;
    case ErrorKind::kInput:
      return 4;
    case ErrorKind::kOutput:
      return 5;
    case ErrorKind::kOutOfMemory:
      return 6;
    case ErrorKind::kDevice:
      return 7;
    case ErrorKind::kRemote:
      return 8;
    case ErrorKind::kNumeric:
      return 10;
    case ErrorKind::kCancelled:
      return 128 + (caught_signal() != 0 ? caught_signal() : 2);
  }
  return 1;
}

void set_log_level_of(Verbosity verbosity) {
  switch (verbosity) {
    case Verbosity::kQuiet:
      return core::set_log_level(core::LogLevel::kError);
    case Verbosity::kNormal:
      return core::set_log_level(core::LogLevel::kWarn);
    case Verbosity::kVerbose:
      return core::set_log_level(core::LogLevel::kInfo);
    case Verbosity::kDebug:
      return core::set_log_level(core::LogLevel::kDebug);
  }
}

void run(const Invocation& invocation, Aftermath& aftermath) {
  Problems ignored;  // the command reports them
  set_log_level_of(read_talk_options(Flags(invocation.settings, ignored)).verbosity);
  switch (invocation.command->bit) {
    case kGenerate:
      return run_generate(invocation, aftermath);
    case kDecode:
      return run_decode(invocation);
    case kInspect:
      return run_inspect(invocation);
    case kPresets:
      return run_presets(invocation);
    case kTokenize:
      return run_tokenize(invocation);
    case kVerify:
      return run_verify(invocation);
    case kBench:
      return run_bench(invocation);
    case kQuantize:
      return run_quantize(invocation);
    case kAllCommands:
      break;
  }
  throw Error(ErrorKind::kInternal,
              "command without a function; this is a bug in t2v, please report it");
}

void run_arguments(const std::vector<std::string>& arguments, Aftermath& aftermath) {
  if (arguments.empty()) write_stderr(program_help());
  const Invocation invocation = read_invocation(arguments);
  if (invocation.help) {
    write_stdout(invocation.command ? command_help(*invocation.command) : program_help());
  } else if (invocation.version) {
    write_stdout(core::str("t2v ", kVersion, "\n"));
  } else {
    run(invocation, aftermath);
  }
}

// The one line on standard error.
void print_error(const std::string& message) noexcept {
  write_stderr("t2v: error: " + core::escape_control(message) + "\n");
}

std::string with_aftermath(const std::string& message, const Aftermath& aftermath) {
  if (aftermath.rescued_latents.empty() || message.find("t2v decode") != std::string::npos) {
    return message;
  }
  std::error_code ignored;
  const auto written = std::filesystem::last_write_time(aftermath.rescued_latents, ignored);
  if (ignored || written < aftermath.not_before) return message;
  return message + "; the latents are saved, try " + aftermath.decode_command;
}

int guarded_main(const std::vector<std::string>& arguments) noexcept {
  Aftermath aftermath;
  try {
    run_arguments(arguments, aftermath);
    return 0;
  } catch (const Error& error) {
    print_error(error.kind() == ErrorKind::kCancelled ? error.what()
                                                      : with_aftermath(error.what(), aftermath));
    return exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    print_error(
        "out of memory: the host has no more to give; try a smaller --size or fewer --frames");
    return exit_code(ErrorKind::kOutOfMemory);
  } catch (const std::exception& error) {
    print_error(
        core::str("bug in t2v: ", error.what(), "; please report it with the command line"));
    return exit_code(ErrorKind::kInternal);
  } catch (...) {
    print_error("bug in t2v: an unknown exception; please report it with the command line");
    return exit_code(ErrorKind::kInternal);
  }
}

}  // namespace
}  // namespace t2v::cli

int main(int argc, char** argv) {
  t2v::cli::prepare_process();
  const int code =
      t2v::cli::guarded_main(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  if (!t2v::core::shut_down()) std::_Exit(code);  // a call that nobody waits for still runs
  return code;
}
