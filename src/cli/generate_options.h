// Everything of a `t2v generate` command line that is not in a request.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/options.h"
#include "cli/resume.h"
#include "cli/shard.h"
#include "media/media.h"
#include "t2v/request.h"

namespace t2v::cli {

// How many videos are made unattended.
struct BatchOptions {
  Start start = Start::kFresh;  // --resume
  int64_t retries = 0;          // of a video that failed
  double timeout_s = 0;         // of one video; 0 = none
  bool fail_fast = false;
  double checkpoint_every_s = 0;  // 0: only when interrupted
  std::optional<Shard> shard;
  std::string results_path;  // --results; "" = the default
  std::string preview;       // --preview, a pattern
};

struct GenerateOptions {
  EngineOptions engine;
  TalkOptions talk;
  media::SinkOptions sink;
  BatchOptions batch;
  std::string block_list;  // --block-list; "" = none
  int64_t count = 1;       // videos a prompt
  bool dry_run = false;
  std::string asked;  // the flags that shape videos, for the summary
};

// Reads them all, and the request's flags for their problems only. Throws Error{kUsage} with all
// problems.
GenerateOptions read_generate_options(const Flags& flags);

}  // namespace t2v::cli
