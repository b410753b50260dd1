// t2v tokenize: token ids of prompts, one JSON line each.
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/engine_options.h"
#include "cli/parts.h"
#include "cli/prompts.h"
#include "cli/signals.h"
#include "cli/streams.h"

namespace t2v::cli {

void run_tokenize(const Invocation& invocation) {
  require_positionals(invocation, "");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const EngineOptions options = read_engine_options(flags, ModelNeed::kModelOrTokenizer);
  problems.throw_if_any();
  const auto prompts = read_prompts(flags, *invocation.command, EmptyPrompts::kAllowed);
  const auto engine = load_engine(options);
  for (const Prompt& prompt : prompts) {
    throw_if_interrupted();
    const TokenizedPrompt result = engine->tokenize(prompt.text);
    const nlohmann::ordered_json line = {{"text", result.text},
                                         {"clean", result.clean},
                                         {"ids", result.ids},
                                         {"truncated", result.truncated}};
    write_stdout(line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
                 "\n");
  }
}

}  // namespace t2v::cli
