// What `t2v bench` tells: medians over repeated runs as JSON and as a table, and the ratios to an
// earlier result.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "t2v/engine.h"

namespace t2v::cli {

// All runs of one measurement, in order.
struct BenchRuns {
  std::string preset;  // "" = the model's own settings
  bool random_weights = false;
  std::vector<Report> warmups;
  std::vector<Report> repeats;  // at least one
};

// The result as one object; its form is described in docs/cli.md.
nlohmann::ordered_json bench_json(const BenchRuns& runs);

// An earlier result. Throws Error{kInput} naming the file when it is none.
nlohmann::ordered_json read_bench_file(const std::string& path);

// {"metric": now / before, ...} for every time and peak that both have.
nlohmann::ordered_json bench_ratios(const nlohmann::ordered_json& now,
                                    const nlohmann::ordered_json& before);

// Settings by which the two differ, for a warning: "width, device"; "" for none.
std::string bench_differences(const nlohmann::ordered_json& now,
                              const nlohmann::ordered_json& before);

// For people. ratios: null without a comparison.
std::string bench_table(const nlohmann::ordered_json& result, const nlohmann::ordered_json& ratios);

}  // namespace t2v::cli
