// t2v calibrate-cache: one video without leaving out a step, measured for --step-cache mag.
#include <filesystem>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/jobs.h"
#include "cli/parts.h"
#include "cli/prompts.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "core/atomic_file.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr const char* kFileName = "t2v-step-cache.json";

std::string table_path(const Flags& flags, const EngineOptions& options) {
  if (const std::string path = flags.path("output"); !path.empty()) return path;
  std::error_code ignored;
  T2V_REQUIRE(std::filesystem::is_directory(options.model_path, ignored), ErrorKind::kUsage,
              "calibrate-cache: the model is no local folder, so the table has no place of its own "
              "(",
              quoted(options.model_path), "); try -o FILE");
  return (std::filesystem::path(options.model_path) / kFileName).string();
}

}  // namespace

void run_calibrate(const Invocation& invocation) {
  require_positionals(invocation, "");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const EngineOptions options = read_engine_options(flags);
  const TalkOptions talk = read_talk_options(flags);
  static_cast<void>(read_request(flags));
  problems.throw_if_any();
  const auto prompts = read_prompts(flags, *invocation.command, EmptyPrompts::kRefused);
  T2V_REQUIRE(prompts.size() == 1, ErrorKind::kUsage, "calibrate-cache: ", prompts.size(),
              " prompts, one is enough (--prompt); try the first one alone");
  const std::string path = table_path(flags, options);
  core::require_writable(path, "--output");
  const auto requests = make_requests(flags, prompts);
  const auto engine = load_engine(options);
  const Recipe recipe = engine->resolve(requests[0]);
  Console console(talk);
  console.begin("");
  const Report report = engine->calibrate_step_cache(recipe, path, console, cancel_token());
  console.end_line();
  for (const std::string& warning : report.warnings) console.warn(warning);
  write_stdout(path + "\n");
}

}  // namespace t2v::cli
