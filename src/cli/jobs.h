// From flags and prompts to the list of videos to make, all of it checked before any work.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
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
  bool in_folder = false;    // --output may name a folder that is not there yet
};

// One video to make.
struct Job {
  int64_t index = 1;  // of the whole list, 1-based
  Recipe recipe;
  std::string output;
  std::string dump_path;
  std::string save_latents_path;
  std::string where;       // of the prompt: "prompt file 'x', line 7"
  std::string refusal;     // why it may not be made; "" = it may
  bool seed_given = true;  // by the user
};

// Seeds of videos that ask for none: of the video with this index and prompt; nothing: a random
// one.
using SeedSource = std::function<std::optional<uint64_t>(int64_t index, const std::string& prompt)>;

// One request a prompt; fields of a prompt file's lines win. Throws Error{kInput} for those and for
// texts and files that a request names.
std::vector<Request> make_requests(const Flags& flags, const std::vector<Prompt>& prompts);

// --output for this number of videos; refuses names that could not differ. Throws Error{kUsage}.
OutputPatterns read_output_patterns(const Flags& flags, const std::vector<Prompt>& prompts,
                                    int64_t count);

// Why no video may be made of a request; nothing: it may.
using Refusal = std::function<std::optional<std::string>(const Request& request)>;

struct JobRules {
  int64_t count = 1;  // videos a request
  OutputPatterns patterns;
  SeedSource seeds;
  Refusal refusal;
};

// Resolves each request `count` times, with seeds that count up. prompts: of the requests. Throws
// Error{kUsage, kInput, kModel}.
std::vector<Job> make_jobs(const Engine& engine, std::vector<Request> requests,
                           const std::vector<Prompt>& prompts, const JobRules& rules);

}  // namespace t2v::cli
