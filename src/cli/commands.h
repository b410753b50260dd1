// One function a command; each returns when its work is done and throws Error otherwise.
#pragma once

#include <filesystem>
#include <string>

#include "cli/options.h"

namespace t2v::cli {

// What a failed command leaves to finish by hand, for the error message of main.cpp.
struct Aftermath {
  std::string rescued_latents;                 // written by the engine when a video cannot be saved
  std::filesystem::file_time_type not_before;  // an older file is of another run
  std::string decode_command;                  // finishes the video from them
};

void run_generate(const Invocation& invocation, Aftermath& aftermath);
void run_decode(const Invocation& invocation);
void run_inspect(const Invocation& invocation);
void run_presets(const Invocation& invocation);
void run_tokenize(const Invocation& invocation);
void run_verify(const Invocation& invocation);
void run_bench(const Invocation& invocation);
void run_quantize(const Invocation& invocation);

// Throws Error{kUsage} unless there is exactly one plain argument called `name`; "": none.
void require_positionals(const Invocation& invocation, const std::string& name);

}  // namespace t2v::cli
