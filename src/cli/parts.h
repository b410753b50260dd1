// The engine, loaded when a command needs it.
#pragma once

#include <memory>

#include "t2v/engine.h"
#include "t2v/request.h"

namespace t2v::cli {

// Checks that the model's path exists, then loads the engine and opens the model.
// Throws Error{kModel, kUsage, kDevice, kInternal}.
std::unique_ptr<Engine> load_engine(const EngineOptions& options);

}  // namespace t2v::cli
