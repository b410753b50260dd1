#include "cli/commands.h"

#include "core/check.h"

namespace t2v::cli {

void require_positionals(const Invocation& invocation, const std::string& name) {
  const size_t expected = name.empty() ? 0 : 1;
  const auto& given = invocation.positionals;
  T2V_REQUIRE(given.size() >= expected, ErrorKind::kUsage, name,
              ": missing (command line); try t2v ", invocation.command->name, " ",
              invocation.command->usage);
  T2V_REQUIRE(given.size() <= expected, ErrorKind::kUsage,
              "unexpected argument: ", quoted(given[expected]),
              " belongs to no flag (command line); try quotes around text with spaces, or t2v ",
              invocation.command->name, " --help");
}

}  // namespace t2v::cli
