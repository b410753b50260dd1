#include "cli/generate_options.h"

#include "cli/engine_options.h"
#include "cli/jobs.h"
#include "cli/recipe_command.h"
#include "cli/video_output.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

constexpr double kSecondsPerMinute = 60;
constexpr double kMaxSeconds = 1e9;  // three decades

BatchOptions read_batch_options(const Flags& flags) {
  BatchOptions options;
  options.start = flags.has("resume") ? Start::kResumed : Start::kFresh;
  options.retries = flags.integer("retries", 0, 1000).value_or(0);
  options.timeout_s =
      flags.real("timeout", {.low = 0, .high = kMaxSeconds, .low_open = true}).value_or(0);
  options.fail_fast = flags.has("fail-fast");
  const RealRange minutes{.low = 0, .high = kMaxSeconds / kSecondsPerMinute, .low_open = true};
  options.checkpoint_every_s =
      flags.real("checkpoint-every", minutes).value_or(0) * kSecondsPerMinute;
  options.shard = read_shard(flags, environment);
  options.results_path = flags.path("results");
  options.preview = flags.path("preview");
  return options;
}

// " --steps 4 --preset draft": what a recipe comes from, without texts.
std::string asked_flags(const Flags& flags) {
  std::string text;
  for (const Flag& flag : cli::flags()) {
    const Setting* setting = (flag.commands & kGenerate) != 0 && (flag.places & kRecipe) != 0
                                 ? flags.find(flag.name)
                                 : nullptr;
    if (!setting || setting->flag != &flag) continue;
    if (flag.name == "prompt" || flag.name == "negative-prompt" || flag.name == "prompt-at")
      continue;
    text += core::str(text.empty() ? "" : " ", "--", flag.name,
                      setting->value.empty() ? "" : " " + shell_quoted(setting->value));
  }
  return text;
}

}  // namespace

GenerateOptions read_generate_options(const Flags& flags) {
  constexpr int64_t kMaxVideos = 1000000;
  GenerateOptions options;
  options.engine = read_engine_options(flags);
  options.talk = read_talk_options(flags);
  options.sink = read_sink_options(flags);
  options.batch = read_batch_options(flags);
  options.count = flags.integer("count", 1, kMaxVideos).value_or(1);
  options.block_list = flags.path("block-list");
  options.dry_run = flags.has("dry-run");
  options.asked = asked_flags(flags);
  if (options.count > 1 && flags.has("latents")) {
    flags.problems().add(
        "--count: --latents fixes the noise, so all videos would be the same (command line); "
        "try one of the two");
  }
  // Read for their problems only: so all are told before prompts are read.
  static_cast<void>(read_request(flags));
  for (const char* name : {"output", "dump", "save-latents"}) static_cast<void>(flags.path(name));
  flags.problems().throw_if_any();
  return options;
}

}  // namespace t2v::cli
