#include "pipeline/run.h"

#include <algorithm>

#include "core/check.h"
#include "core/fault.h"

namespace t2v::pipeline {

Run::Run(Compute compute, ProgressListener& progress, const CancelToken& cancel, bool dump)
    : compute_(compute), progress_(progress), cancel_(cancel), dump_(dump) {}

double Run::elapsed_ms() const {
  return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
}

void Run::check_cancelled() const {
  T2V_FAULT("step.cancel");
  T2V_REQUIRE(!cancel_.cancelled(), ErrorKind::kCancelled, "interrupted by the user");
}

void Run::tell(Stage stage, int64_t done, int64_t total, const std::string& expert) const {
  progress_.on_progress({.stage = stage, .done = done, .total = total, .expert = expert});
}

StageTime& Run::entry(Stage stage) {
  auto& stages = report_.stages;
  const auto found = std::find_if(stages.begin(), stages.end(),
                                  [&](const StageTime& s) { return s.stage == stage; });
  if (found != stages.end()) return *found;
  stages.push_back({.stage = stage, .start_ms = elapsed_ms()});
  return stages.back();
}

void Run::in_stage(Stage stage, const std::function<void()>& work) {
  check_cancelled();
  entry(stage);
  const double begin = elapsed_ms();
  const double outer_nested = nested_ms_;
  nested_ms_ = 0;
  work();
  const double wall = elapsed_ms() - begin;
  entry(stage).wall_ms += wall - nested_ms_;
  nested_ms_ = outer_nested + wall;
}

void Run::add_read_time(int64_t bytes, int64_t busy_ns) {
  streamed_bytes_ += bytes;
  streaming_ns_ += busy_ns;
  report_.weights.gb_per_s =
      streaming_ns_ > 0 ? static_cast<double>(streamed_bytes_) / static_cast<double>(streaming_ns_)
                        : 0;
}

void Run::add_bytes_read(Stage stage, int64_t bytes) { entry(stage).bytes_read += bytes; }

}  // namespace t2v::pipeline
