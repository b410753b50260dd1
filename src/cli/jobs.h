// From flags and prompts to the list of videos to make, all of it checked before any work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/prompts.h"
#include "t2v/engine.h"

namespace t2v::cli {

// Names as asked for, placeholders not yet replaced.
struct OutputPatterns {
  std::string video;         // --output
  std::string dump;          // --dump
  std::string save_latents;  // --save-latents
  bool several = false;      // more than one video will be made
};

// One video to make.
struct Job {
  Recipe recipe;
  std::string output;
  std::string dump_path;
  std::string save_latents_path;
};

// One request a prompt; fields of .jsonl lines win. Throws Error{kInput} for those and for texts
// and files that a request names.
std::vector<Request> make_requests(const Flags& flags, const std::vector<Prompt>& prompts);

// --output for this number of videos; refuses names that could not differ. Throws Error{kUsage}.
OutputPatterns read_output_patterns(const Flags& flags, int64_t num_videos);

// Resolves each request `count` times, with seeds that count up. Throws Error{kUsage, kInput,
// kModel}.
std::vector<Job> make_jobs(const Engine& engine, const std::vector<Request>& requests,
                           int64_t count, const OutputPatterns& patterns);

}  // namespace t2v::cli
