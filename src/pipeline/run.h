// The bookkeeping of one request: where it runs, stage and step times, progress, cancellation,
// dump.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "core/trace.h"
#include "models/placement.h"
#include "ops/attention.h"
#include "ops/op_timer.h"
#include "pipeline/tensor_dump.h"
#include "t2v/engine.h"

namespace t2v::pipeline {

class RunProfile;

// Where and in which type the models run.
struct Compute {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  at::Device text_encoder_device = at::kCPU;
  ops::AttentionBackend attention = ops::AttentionBackend::kAuto;
  models::QuantPlan quant = {};  // of the transformer's blocks
  // int8 attention computes in 16 bits in the first and the last tenth of the steps.
  bool protect_steps = false;
  bool profile = false;  // runs time their operations and watch their memory
};

class Run {
 public:
  Run(Compute compute, ProgressListener& progress, const CancelToken& cancel, bool dump);
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run();

  [[nodiscard]] const Compute& compute() const noexcept { return compute_; }
  [[nodiscard]] TensorDump& dump() noexcept { return dump_; }
  [[nodiscard]] Report& report() noexcept { return report_; }
  [[nodiscard]] double elapsed_ms() const;

  // From now on.
  void set_timeout(double seconds);
  // Throws Error{kCancelled} when the user asked to stop, Error{kTimeout} when the time is over.
  void check_cancelled() const;
  void tell(Stage stage, int64_t done, int64_t total, const std::string& expert = {}) const;
  // Adds what memory the process takes.
  void tell(ProgressEvent event) const;

  // While it lives, a sampling step is made: the one that comes next into the report's steps.
  class Step {
   public:
    Step(Run& run, int64_t index, const std::string& expert);

   private:
    core::TraceSpan span_;
    std::optional<ops::OpTimer::Use> use_;
  };

  // What --profile asks for goes into the report; once, at the end.
  void end_profile();

  // Runs `work` as part of a stage: its time is added to the stage's, minus that of stages inside.
  void in_stage(Stage stage, const std::function<void()>& work);
  void add_bytes_read(Stage stage, int64_t bytes);
  // Reads of weight streams and the wall time in which there were any; for the report's GB/s.
  void add_read_time(int64_t bytes, int64_t busy_ns);

 private:
  using Clock = std::chrono::steady_clock;
  StageTime& entry(Stage stage);
  void work_in_stage(Stage stage, const std::function<void()>& work);

  Compute compute_;
  ProgressListener& progress_;
  const CancelToken& cancel_;
  TensorDump dump_;
  Report report_;
  Clock::time_point start_ = Clock::now();
  int64_t streamed_bytes_ = 0;
  int64_t streaming_ns_ = 0;
  double timeout_from_ms_ = 0;
  double deadline_ms_ = std::numeric_limits<double>::infinity();  // since the start
  double nested_ms_ = 0;                 // time of stages that ran inside the current one
  int64_t nested_bytes_ = 0;             // copied to the device in these
  std::unique_ptr<RunProfile> profile_;  // null: not wanted
};

}  // namespace t2v::pipeline
