// Which model, what stands in for parts of it, and how it runs: flags to EngineOptions.
#pragma once

#include "cli/options.h"
#include "t2v/request.h"

namespace t2v::cli {

enum class ModelNeed { kModel, kModelOrTokenizer };

// The groups "Model files" and "How to run". The default model is the one shipped with the program;
// none at all is a problem.
EngineOptions read_engine_options(const Flags& flags, ModelNeed need = ModelNeed::kModel);

// The same without --model, for commands that get it as an argument.
EngineOptions read_running_options(const Flags& flags);

}  // namespace t2v::cli
