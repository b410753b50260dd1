#include "cli/shard.h"

#include "cli/numbers.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr int64_t kMaxShards = 1000000;

// Where an index comes from, and what says how many there are.
struct Source {
  const char* index;
  const char* count;
  const char* first;  // of the index; null: 0
  const char* step;   // null: 1
};
constexpr Source kSources[] = {
    {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN",
     "SLURM_ARRAY_TASK_STEP"},
    {"JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", nullptr, nullptr},
    {"RANK", "WORLD_SIZE", nullptr, nullptr},
};

int64_t number_of(const Variables& variable, const char* name) {
  const std::string text = variable(name);
  const auto value = parse_int64(text);
  T2V_REQUIRE(value && *value >= 0 && *value <= kMaxShards, ErrorKind::kUsage,
              "--shard auto: ", name, " is ", quoted(text), ", expected a number from 0 to ",
              kMaxShards, " (environment); try --shard I/N");
  return *value;
}

}  // namespace

Shard shard_of_environment(const Variables& variable) {
  for (const Source& source : kSources) {
    if (variable(source.index).empty()) continue;
    Shard shard{.index = number_of(variable, source.index), .count = 0};
    const char* count = "T2V_SHARDS";
    if (variable(count).empty()) {
      count = source.count;
      const int64_t first =
          source.first && !variable(source.first).empty() ? number_of(variable, source.first) : 0;
      const int64_t step =
          source.step && !variable(source.step).empty() ? number_of(variable, source.step) : 1;
      T2V_REQUIRE(step > 0 && shard.index >= first && (shard.index - first) % step == 0,
                  ErrorKind::kUsage, "--shard auto: ", source.index, " ", shard.index,
                  " is none of ", first, ", ", first + step,
                  " ... (environment); try T2V_SHARDS=N, or --shard I/N");
      shard.index = (shard.index - first) / step;
    }
    shard.count = number_of(variable, count);
    T2V_REQUIRE(shard.index < shard.count, ErrorKind::kUsage, "--shard auto: ", source.index,
                " makes this shard ", shard.index, ", but ", count, " says that there are ",
                shard.count, " (environment); try indices without gaps, or T2V_SHARDS=N");
    return shard;
  }
  throw Error(ErrorKind::kUsage,
              "--shard auto: none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX and RANK is set "
              "(environment); try --shard I/N");
}

std::optional<Shard> read_shard(const Flags& flags, const Variables& variable) {
  const Setting* setting = flags.find("shard");
  if (!setting) return std::nullopt;
  if (setting->value == "auto") return shard_of_environment(variable);
  const size_t slash = setting->value.find('/');
  if (slash != std::string::npos) {
    const auto index = parse_int64(setting->value.substr(0, slash));
    const auto count = parse_int64(setting->value.substr(slash + 1));
    if (index && count && *count >= 1 && *count <= kMaxShards && *index >= 0 && *index < *count)
      return Shard{.index = *index, .count = *count};
  }
  flags.refuse(*setting, "is not I/N with I from 0 to N-1, or auto");
  return std::nullopt;
}

std::string results_name(const std::optional<Shard>& shard) {
  if (!shard) return "results.jsonl";
  return str("results-", shard->index, "-of-", shard->count, ".jsonl");
}

}  // namespace t2v::cli
