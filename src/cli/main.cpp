// The program: picks the command, and turns every exception into one line and an exit code.
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/exit_codes.h"
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

void run_other(const Invocation& invocation) {
  switch (invocation.command->bit) {
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
    case kCalibrate:
      return run_calibrate(invocation);
    case kEncode:
      return run_encode(invocation);
    case kCompletion:
      return run_completion(invocation);
    case kGenerate:
    case kDoctor:
    case kAllCommands:
      break;
  }
  throw Error(ErrorKind::kInternal,
              "command without a function; this is a bug in t2v, please report it");
}

CommandEnd run(const Invocation& invocation) {
  Problems ignored;  // the command reports them
  set_log_level_of(read_talk_options(Flags(invocation.settings, ignored)).verbosity);
  if (invocation.command->bit == kGenerate) return run_generate(invocation);
  if (invocation.command->bit == kDoctor) return run_doctor(invocation);
  run_other(invocation);
  return CommandEnd::kDone;
}

CommandEnd run_arguments(const std::vector<std::string>& arguments) {
  if (arguments.empty()) write_stderr(program_help());
  const Invocation invocation = read_invocation(arguments);
  if (invocation.help) {
    write_stdout(invocation.command ? command_help(*invocation.command) : program_help());
  } else if (invocation.version) {
    write_stdout(core::str("t2v ", kVersion, "\n"));
  } else {
    return run(invocation);
  }
  return CommandEnd::kDone;
}

// The one line on standard error.
void print_error(const std::string& message) noexcept {
  write_stderr("t2v: error: " + core::escape_control(message) + "\n");
}

int guarded_main(const std::vector<std::string>& arguments) noexcept {
  try {
    switch (run_arguments(arguments)) {
      case CommandEnd::kDone:
        return 0;
      case CommandEnd::kSomeFailed:
        return kBatchFailures;
      case CommandEnd::kUnfit:
        return kUnfitMachine;
    }
    return 0;
  } catch (const Error& error) {
    print_error(error.what());
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
