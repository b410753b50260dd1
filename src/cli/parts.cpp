#include "cli/parts.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli/problems.h"
#include "core/check.h"
#include "core/module.h"

namespace t2v::cli {
namespace {

// LibTorch takes a moment to load: a mistyped path is told before.
void require_path(const std::string& path, const char* what) {
  if (path.empty()) return;
  struct stat status {};
  T2V_REQUIRE(::stat(path.c_str(), &status) == 0, ErrorKind::kModel, "cannot open ", what, ": ",
              std::strerror(errno), " (", quoted(path), ")");
}

}  // namespace

std::unique_ptr<Engine> load_engine(const EngineOptions& options) {
  using CreateEngine = Engine* (*)(const EngineOptions&);
  require_path(options.model_path, "model");
  require_path(options.tokenizer_path, "tokenizer");
  // Idle OpenMP threads sleep instead of spinning: on a busy machine the
  // spinning took most of the time (28.9 s against 1.6 s for a video of the shipped model). libgomp
  // reads this when it is loaded; a value that the user has set wins.
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  const auto create =
      reinterpret_cast<CreateEngine>(core::load_module("t2v_engine", "t2v_create_engine"));
  return std::unique_ptr<Engine>(create(options));
}

}  // namespace t2v::cli
