// Counts of a batch and what is told at its end.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cli/results_file.h"
#include "t2v/engine.h"

namespace t2v::cli {

class BatchSummary {
 public:
  void add(ItemStatus status) { ++counts_[static_cast<size_t>(status)]; }
  void add_report(const Report& report);
  // line: "video 3 of 50: why".
  void add_failure(std::string line) { failures_.push_back(std::move(line)); }

  [[nodiscard]] int64_t count(ItemStatus status) const {
    return counts_[static_cast<size_t>(status)];
  }
  [[nodiscard]] int64_t ended() const;
  [[nodiscard]] bool has_failures() const {
    return count(ItemStatus::kFailed) + count(ItemStatus::kRefused) > 0;
  }

  // Lines for standard error. num_videos: that were to be made by this run.
  [[nodiscard]] std::string text(int64_t num_videos, const std::string& results_path) const;
  // {"event":"batch", ...} for --progress json.
  [[nodiscard]] std::string json(int64_t num_videos, const std::string& results_path) const;

 private:
  using Clock = std::chrono::steady_clock;
  [[nodiscard]] double seconds() const;
  [[nodiscard]] double videos_per_hour() const;

  Clock::time_point begin_ = Clock::now();
  std::array<int64_t, 5> counts_{};
  std::map<Stage, double> stage_ms_;  // of one video's share
  int64_t host_peak_bytes_ = 0;
  int64_t device_peak_bytes_ = 0;
  std::vector<std::string> failures_;
};

}  // namespace t2v::cli
