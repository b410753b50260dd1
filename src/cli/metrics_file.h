// The Prometheus text file of a run (--metrics-file), for the textfile collector of a node
// exporter: written anew whenever a video ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cli/results_file.h"
#include "t2v/engine.h"

namespace t2v::cli {

class MetricsFile {
 public:
  // path: "" = none; then all calls do nothing.
  explicit MetricsFile(std::string path);
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;
  ~MetricsFile();

  // So many videos are to be made. Here and below the file appears whole or not at all. Throws
  // Error{kOutput}.
  void begin(int64_t num_videos);
  // One has ended; report: of done ones, else null.
  void add(ItemStatus status, const Report* report);

 private:
  struct Metrics;
  void write() const;

  std::string path_;
  std::unique_ptr<Metrics> metrics_;
};

}  // namespace t2v::cli
