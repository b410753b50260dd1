#include "cli/batch_summary.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cli/console.h"
#include "core/check.h"
#include "core/escape.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr size_t kMaxFailuresShown = 10;
constexpr ItemStatus kStatuses[] = {ItemStatus::kDone, ItemStatus::kSkipped, ItemStatus::kFailed,
                                    ItemStatus::kRefused, ItemStatus::kInterrupted};

}  // namespace

void BatchSummary::add_report(const Report& report) {
  const auto videos = static_cast<double>(std::max<int64_t>(report.together, 1));
  for (const StageTime& stage : report.stages) stage_ms_[stage.stage] += stage.wall_ms / videos;
  host_peak_bytes_ = std::max(host_peak_bytes_, report.host_peak_bytes);
  device_peak_bytes_ = std::max(device_peak_bytes_, report.device_peak_bytes);
}

int64_t BatchSummary::ended() const {
  return std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
}

double BatchSummary::seconds() const {
  return std::chrono::duration<double>(Clock::now() - begin_).count();
}

double BatchSummary::videos_per_hour() const {
  return static_cast<double>(count(ItemStatus::kDone)) / std::max(seconds(), 1e-3) * 3600;
}

std::string BatchSummary::text(int64_t num_videos, const std::string& results_path) const {
  std::string text = str("t2v: ", num_videos, num_videos == 1 ? " video:" : " videos:");
  const char* separator = " ";
  for (const ItemStatus status : kStatuses) {
    if (count(status) == 0 && status != ItemStatus::kDone) continue;
    text += str(separator, count(status), " ", item_status_name(status));
    separator = ", ";
  }
  if (const int64_t left = num_videos - ended(); left > 0) text += str(", ", left, " not begun");
  text += str(" in ", duration_text(seconds()));
  if (count(ItemStatus::kDone) > 0)
    text += str(", ", std::llround(videos_per_hour()), " videos an hour");
  text += "\n";
  if (!stage_ms_.empty()) {
    text += "t2v: of all videos together:";
    separator = " ";
    for (const auto& [stage, ms] : stage_ms_) {
      text += str(separator, stage_words(stage), " ", duration_text(ms / 1000));
      separator = ", ";
    }
    if (host_peak_bytes_ > 0) text += "; peak memory " + bytes_text(host_peak_bytes_);
    if (device_peak_bytes_ > 0) text += str(", ", bytes_text(device_peak_bytes_), " on the device");
    text += "\n";
  }
  for (size_t i = 0; i < failures_.size() && i < kMaxFailuresShown; ++i)
    text += str("t2v: ", core::escape_control(failures_[i]), "\n");
  if (failures_.size() > kMaxFailuresShown)
    text += str("t2v: and ", failures_.size() - kMaxFailuresShown, " more, see the results\n");
  if (!results_path.empty())
    text += str("t2v: results in ", core::escape_control(results_path), "\n");
  return text;
}

std::string BatchSummary::json(int64_t num_videos, const std::string& results_path) const {
  nlohmann::ordered_json json = {{"event", "batch"}, {"videos", num_videos}};
  for (const ItemStatus status : kStatuses) json[item_status_name(status)] = count(status);
  json["elapsed_ms"] = std::round(seconds() * 1000);
  json["videos_per_hour"] = std::round(videos_per_hour());
  json["results"] = results_path;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace t2v::cli
