// t2v presets: every preset with the values it gives for this model.
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/engine_options.h"
#include "cli/parts.h"
#include "cli/report.h"
#include "cli/streams.h"

namespace t2v::cli {

void run_presets(const Invocation& invocation) {
  require_positionals(invocation, "");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const EngineOptions options = read_engine_options(flags);
  problems.throw_if_any();
  const auto engine = load_engine(options);
  const auto presets = engine->presets();
  if (flags.has("json")) {
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    for (const auto& [name, settings] : presets) {
      for (const auto& [flag, value] : settings) json[name][canonical_name(flag)] = value;
    }
    write_stdout(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
    return;
  }
  std::string text;
  for (const auto& [name, settings] : presets) {
    text += (text.empty() ? "" : "\n") + name + "\n" + settings_text(settings, "  ");
  }
  write_stdout(text);
}

}  // namespace t2v::cli
