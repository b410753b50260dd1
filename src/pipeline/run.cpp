#include "pipeline/run.h"

#include <algorithm>

#include "core/check.h"
#include "core/fault.h"
#include "ops/device.h"
#include "pipeline/compute.h"
#include "pipeline/kineto.h"
#include "pipeline/run_profile.h"

namespace t2v::pipeline {

Run::Run(Compute compute, ProgressListener& progress, const CancelToken& cancel, bool dump)
    : compute_(compute), progress_(progress), cancel_(cancel), dump_(dump) {
  if (compute_.profile)
    profile_ = std::make_unique<RunProfile>(compute_.device, [start = start_] {
      return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    });
}

Run::~Run() = default;

double Run::elapsed_ms() const {
  return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
}

void Run::check_cancelled() const {
  T2V_FAULT("step.cancel");
  T2V_REQUIRE(!cancel_.cancelled(), ErrorKind::kCancelled, "interrupted by the user");
  T2V_REQUIRE(elapsed_ms() < deadline_ms_, ErrorKind::kTimeout, "not done after ",
              (deadline_ms_ - timeout_from_ms_) / 1000,
              " s (--timeout); try a longer one, a smaller --size or fewer --steps");
}

void Run::set_timeout(double seconds) {
  timeout_from_ms_ = elapsed_ms();
  deadline_ms_ = timeout_from_ms_ + seconds * 1000;
}

void Run::tell(Stage stage, int64_t done, int64_t total, const std::string& expert) const {
  tell(ProgressEvent{.stage = stage, .done = done, .total = total, .expert = expert});
}

void Run::tell(ProgressEvent event) const {
  event.host_bytes = current_host_bytes();
  if (!compute_.device.is_cpu()) event.device_bytes = ops::device_bytes(compute_.device);
  progress_.on_progress(event);
}

Run::Step::Step(Run& run, int64_t index, const std::string& expert)
    : span_("step", "step", index, core::SpanKind::kCoarse) {
  span_.set_detail(expert);
  kineto_boundary();
  if (run.profile_)
    use_.emplace(&run.profile_->timer(), run.profile_->step_bin(run.report_.steps.size()));
}

void Run::end_profile() {
  if (profile_) profile_->fill(report_);
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
  const int64_t bytes_begin = ops::uploaded_bytes();
  const int64_t outer_bytes = nested_bytes_;
  nested_ms_ = 0;
  nested_bytes_ = 0;
  work_in_stage(stage, work);
  const double wall = elapsed_ms() - begin;
  const int64_t bytes = ops::uploaded_bytes() - bytes_begin;
  StageTime& time = entry(stage);
  time.wall_ms += wall - nested_ms_;
  time.bytes_h2d += bytes - nested_bytes_;
  nested_ms_ = outer_nested + wall;
  nested_bytes_ = outer_bytes + bytes;
}

void Run::work_in_stage(Stage stage, const std::function<void()>& work) {
  const core::TraceSpan span("stage", stage_name(stage), -1, core::SpanKind::kCoarse);
  if (!profile_) return work();
  const ops::OpTimer::Use use(&profile_->timer(), profile_->stage_bin(stage));
  work();
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
