#include "cli/shard.h"

#include <catch2/catch.hpp>
#include <map>

#include "t2v/error.h"

namespace t2v::cli {
namespace {

Variables variables(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const char* name) {
    const auto found = values.find(name);
    return found == values.end() ? std::string() : found->second;
  };
}

std::optional<Shard> given(const std::string& value, bool* refused = nullptr) {
  Problems problems;
  const Flags flags({{.flag = find_flag("shard"), .value = value, .where = "command line"}},
                    problems);
  const auto shard = read_shard(flags, variables({{"RANK", "1"}, {"WORLD_SIZE", "4"}}));
  if (refused) *refused = !problems.empty();
  return shard;
}

TEST_CASE("a shard as written") {
  CHECK(given("0/1")->count == 1);
  CHECK(given("2/3")->index == 2);
  CHECK(given("auto")->count == 4);
  for (const char* value : {"3/3", "-1/3", "1", "1/", "/3", "1/0", "a/b", "1/3/4", "", "0x1/4"}) {
    bool refused = false;
    CAPTURE(value);
    CHECK(!given(value, &refused));
    CHECK(refused);
  }
}

TEST_CASE("every video belongs to one shard") {
  for (int64_t position = 0; position < 20; ++position) {
    int owners = 0;
    for (int64_t i = 0; i < 3; ++i) owners += Shard{.index = i, .count = 3}.has(position) ? 1 : 0;
    CHECK(owners == 1);
  }
}

TEST_CASE("shards of a Slurm array") {
  const Shard shard = shard_of_environment(variables({{"SLURM_ARRAY_TASK_ID", "9"},
                                                      {"SLURM_ARRAY_TASK_COUNT", "4"},
                                                      {"SLURM_ARRAY_TASK_MIN", "5"},
                                                      {"SLURM_ARRAY_TASK_STEP", "2"},
                                                      {"JOB_COMPLETION_INDEX", "0"}}));
  CHECK(shard.index == 2);
  CHECK(shard.count == 4);
  // A requeue of tasks 3 and 7 only, of 16.
  const Shard again = shard_of_environment(variables({{"SLURM_ARRAY_TASK_ID", "7"},
                                                      {"SLURM_ARRAY_TASK_COUNT", "2"},
                                                      {"SLURM_ARRAY_TASK_MIN", "3"},
                                                      {"T2V_SHARDS", "16"}}));
  CHECK(again.index == 7);
  CHECK(again.count == 16);
}

TEST_CASE("shards of an Indexed Job and of ranks") {
  CHECK(shard_of_environment(variables({{"JOB_COMPLETION_INDEX", "3"}, {"JOB_COMPLETIONS", "8"}}))
            .index == 3);
  CHECK(
      shard_of_environment(variables({{"JOB_COMPLETION_INDEX", "3"}, {"T2V_SHARDS", "8"}})).count ==
      8);
  CHECK(shard_of_environment(variables({{"RANK", "0"}, {"WORLD_SIZE", "2"}})).count == 2);
}

TEST_CASE("an environment that says too little or nonsense is refused") {
  using Values = std::map<std::string, std::string>;
  for (const Values& values :
       {Values{}, Values{{"JOB_COMPLETION_INDEX", "3"}}, Values{{"RANK", "4"}, {"WORLD_SIZE", "4"}},
        Values{{"RANK", "x"}, {"WORLD_SIZE", "4"}},
        Values{{"SLURM_ARRAY_TASK_ID", "7"},
               {"SLURM_ARRAY_TASK_COUNT", "2"},
               {"SLURM_ARRAY_TASK_MIN", "3"}}}) {
    CHECK_THROWS_AS(shard_of_environment(variables(values)), Error);
  }
}

TEST_CASE("results of shards have names of their own") {
  CHECK(results_name(std::nullopt) == "results.jsonl");
  CHECK(results_name(Shard{.index = 3, .count = 16}) == "results-3-of-16.jsonl");
}

}  // namespace
}  // namespace t2v::cli
