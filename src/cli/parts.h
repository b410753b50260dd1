// The engine, loaded when a command needs it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "t2v/engine.h"
#include "t2v/machine.h"
#include "t2v/quantize.h"
#include "t2v/request.h"

namespace t2v::cli {

// Whether the path is one of a remote store: nothing is said about it before the engine looks.
bool is_remote(std::string_view path) noexcept;

// Checks that the local paths of model files exist, then loads the engine and opens the model.
// Throws Error{kModel, kUsage, kDevice, kInternal}.
std::unique_ptr<Engine> load_engine(const EngineOptions& options);

// t2v::inspect_model of the engine's library, after the same checks.
std::string show_model(const EngineOptions& options, ReportFormat format);

// t2v::examine_machine of the engine's library.
MachineFacts examine(const EngineOptions& options);

// t2v::quantize_model of the engine's library, after the same checks.
QuantizeReport quantize(const QuantizeOptions& options);

// t2v::preview_latents of the engine's library; opens no model.
Report show_latents(const std::string& latents_path, double fps, FrameSink& sink,
                    ProgressListener& progress);

}  // namespace t2v::cli
