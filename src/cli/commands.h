// One function a command; each returns when its work is done and throws Error otherwise.
#pragma once

#include <string>

#include "cli/options.h"

namespace t2v::cli {

// How a command that threw nothing has ended.
enum class CommandEnd { kDone, kSomeFailed, kUnfit };

CommandEnd run_generate(const Invocation& invocation);
CommandEnd run_doctor(const Invocation& invocation);
void run_decode(const Invocation& invocation);
void run_encode(const Invocation& invocation);
void run_inspect(const Invocation& invocation);
void run_presets(const Invocation& invocation);
void run_tokenize(const Invocation& invocation);
void run_verify(const Invocation& invocation);
void run_bench(const Invocation& invocation);
void run_quantize(const Invocation& invocation);
void run_completion(const Invocation& invocation);
void run_calibrate(const Invocation& invocation);

// Throws Error{kUsage} unless there is exactly one plain argument called `name`; "": none.
void require_positionals(const Invocation& invocation, const std::string& name);

}  // namespace t2v::cli
