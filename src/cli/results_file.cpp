#include "cli/results_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/exit_codes.h"
#include "cli/problems.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using Json = nlohmann::ordered_json;

// "2026-11-21T19:04:05.678Z"
std::string time_text() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[40];
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof text - length, ".%03dZ", static_cast<int>(ms));
  return text;
}

double rounded(double ms) { return std::round(ms * 1000) / 1000; }

void add_report(const Report& report, Json& json) {
  json["total_ms"] = rounded(report.total_ms);
  json["first_step_ms"] = rounded(report.first_step_ms);
  Json stages = Json::object();
  for (const StageTime& stage : report.stages)
    stages[stage_name(stage.stage)] =
        rounded(stages.value(stage_name(stage.stage), 0.0) + stage.wall_ms);
  json["stages"] = stages;
  json["host_peak"] = report.host_peak_bytes;
  json["device_peak"] = report.device_peak_bytes;
  json["together"] = report.together;
  json["resumed_steps"] = report.resumed_steps;
  if (!report.retried.empty()) json["retried"] = report.retried;
  if (!report.warnings.empty()) json["warnings"] = report.warnings;
}

template <typename Value>
Value field(const Json& json, const char* name, Value otherwise) {
  const auto found = json.find(name);
  if (found == json.end()) return otherwise;
  if constexpr (std::is_same_v<Value, std::string>) {
    return found->is_string() ? found->get<Value>() : otherwise;
  } else {
    return found->is_number_integer() ? found->get<Value>() : otherwise;
  }
}

// Open for appending, locked against other writers.
class LockedFile {
 public:
  explicit LockedFile(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
    if (fd_ < 0) fail(errno);
    while (::flock(fd_, LOCK_EX) != 0 && errno == EINTR) continue;  // without locks: O_APPEND
  }
  LockedFile(const LockedFile&) = delete;
  LockedFile& operator=(const LockedFile&) = delete;
  ~LockedFile() { ::close(fd_); }

  void append(std::string text) {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) fail(errno);
    char last = '\n';
    if (S_ISREG(status.st_mode) && status.st_size > 0 &&
        ::pread(fd_, &last, 1, status.st_size - 1) == 1 && last != '\n')
      text.insert(0, 1, '\n');
    ssize_t written = -1;
    do {
      written = ::write(fd_, text.data(), text.size());
    } while (written < 0 && errno == EINTR);
    if (written != static_cast<ssize_t>(text.size())) {
      const int error = written < 0 ? errno : ENOSPC;
      if (written > 0 && ::ftruncate(fd_, status.st_size) != 0) fail(errno);
      fail(error);
    }
    if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) fail(errno);
  }

 private:
  [[noreturn]] void fail(int error) const {
    throw Error(ErrorKind::kOutput,
                core::str("cannot write results: ", std::strerror(error), " (", quoted(path_),
                          ", --results); try --results with a name on another disk"));
  }
  const std::string& path_;
  int fd_;
};

}  // namespace

const char* item_status_name(ItemStatus status) noexcept {
  switch (status) {
    case ItemStatus::kDone:
      return "done";
    case ItemStatus::kFailed:
      return "failed";
    case ItemStatus::kSkipped:
      return "skipped";
    case ItemStatus::kRefused:
      return "refused";
    case ItemStatus::kInterrupted:
      return "interrupted";
  }
  return "unknown";
}

FileFacts facts_of(const std::string& path) {
  FileFacts facts;
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return facts;
  facts.bytes = status.st_size;
  facts.modified_ns = int64_t{status.st_mtim.tv_sec} * 1000000000 + status.st_mtim.tv_nsec;
  return facts;
}

std::string result_json(const ResultLine& line) {
  Json json = {{"index", line.index},   {"status", item_status_name(line.status)},
               {"output", line.output}, {"seed", line.seed},
               {"prompt", line.prompt}, {"recipe_hash", line.recipe_hash}};
  if (line.report) add_report(*line.report, json);
  json["retries"] = line.retries;
  if (line.file.bytes >= 0) {
    json["bytes"] = line.file.bytes;
    json["modified_ns"] = line.file.modified_ns;
    json["sha256"] = line.file.sha256;
  }
  if (line.error) {
    json["error"] = {{"kind", error_kind_name(line.error->kind())},
                     {"exit_code", exit_code(line.error->kind())},
                     {"message", line.error->what()}};
  }
  json["time"] = time_text();
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

EarlierResults read_results(const std::string& path) {
  EarlierResults results;
  if (path.empty()) return results;
  std::ifstream file(path);
  if (!file) {
    T2V_REQUIRE(::access(path.c_str(), F_OK) != 0, ErrorKind::kInput,
                "cannot read results: ", std::strerror(errno), " (", quoted(path),
                ", --results); try without --resume");
    return results;
  }
  for (std::string line; std::getline(file, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("index") || !json.contains("status")) continue;
    const auto status = field<std::string>(json, "status", "");
    const EarlierResult result{.done = status == "done" || status == "skipped",
                               .seed = field<uint64_t>(json, "seed", 0),
                               .prompt = field<std::string>(json, "prompt", ""),
                               .recipe_hash = field<std::string>(json, "recipe_hash", ""),
                               .file = {.bytes = field<int64_t>(json, "bytes", -1),
                                        .modified_ns = field<int64_t>(json, "modified_ns", -1),
                                        .sha256 = field<std::string>(json, "sha256", "")}};
    results.by_output.insert_or_assign(field<std::string>(json, "output", ""), result);
    results.by_index.insert_or_assign(field<int64_t>(json, "index", 0), result);
  }
  return results;
}

void append_result(const std::string& path, const std::string& json) {
  LockedFile(path).append(json + "\n");
}

}  // namespace t2v::cli
