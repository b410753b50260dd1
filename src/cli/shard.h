// One of several runs that share a list of videos (--shard): a Slurm array, a Kubernetes Indexed
// Job, ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "cli/options.h"

namespace t2v::cli {

struct Shard {
  int64_t index = 0;  // 0 to count-1
  int64_t count = 1;

  // position: of the whole list, 0-based.
  [[nodiscard]] bool has(int64_t position) const { return position % count == index; }
};

// The value of an environment variable, "" when it is not set.
using Variables = std::function<std::string(const char*)>;

// "auto": from SLURM_ARRAY_TASK_ID with SLURM_ARRAY_TASK_COUNT, _MIN and _STEP; else from
// JOB_COMPLETION_INDEX with JOB_COMPLETIONS; else from RANK with WORLD_SIZE. T2V_SHARDS says the
// number of shards instead of the second variable; the first one is then the index itself.
// Throws Error{kUsage}.
Shard shard_of_environment(const Variables& variable);

// --shard I/N or auto; nothing when it is not given. A wrong value adds a problem.
std::optional<Shard> read_shard(const Flags& flags, const Variables& variable);

// "results.jsonl", of a shard "results-3-of-16.jsonl".
std::string results_name(const std::optional<Shard>& shard);

}  // namespace t2v::cli
