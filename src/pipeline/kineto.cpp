#include "pipeline/kineto.h"

#include <ATen/record_function.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "core/trace.h"

namespace t2v::pipeline {
namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;
using torch::profiler::impl::ProfilerConfig;
using torch::profiler::impl::ProfilerState;

// LibTorch has one profiler a process.
class Recorder {
 public:
  bool open(c10::Device device, size_t max_events) {
    const std::lock_guard lock(mutex_);
    if (window_thread_ != 0 || record_.ended_ns) return false;
    max_events_ = max_events;
    // Kineto tells on standard error that there is no GPU; the user's own setting stands.
    ::setenv("KINETO_LOG_LEVEL", "99", 0);
    activities_ = {ActivityType::CPU};
    if (!device.is_cpu()) activities_.insert(ActivityType::CUDA);
    begin();
    window_thread_ = core::thread_number();
    return true;
  }
  void turn_over() {
    const std::lock_guard lock(mutex_);
    if (window_thread_ != core::thread_number() || !is_recording_) return;
    end();
    if (record_.spans.size() >= max_events_) {
      record_.ended_ns = core::trace_clock_ns();
    } else {
      begin();
    }
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (is_recording_) end();
    window_thread_ = 0;
  }
  [[nodiscard]] KinetoRecord copy() const {
    const std::lock_guard lock(mutex_);
    return record_;
  }

 private:
  void begin() {
    const ProfilerConfig config(ProfilerState::KINETO);
    profiler::prepareProfiler(config, activities_);
    profiler::enableProfiler(config, activities_,
                             {at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE});
    is_recording_ = true;
  }
  void end() {
    is_recording_ = false;
    const auto result = profiler::disableProfiler();
    const auto own = at::RecordFunction::currentThreadId();
    for (const profiler::KinetoEvent& event : result->events()) {
      if (event.isHiddenEvent() || event.endNs() < event.startNs()) continue;
      if (record_.spans.size() >= max_events_) {
        ++record_.left_out;
        continue;
      }
      const bool on_cpu = event.deviceType() == c10::DeviceType::CPU;
      const int64_t thread = event.startThreadId() == own
                                 ? window_thread_
                                 : static_cast<int64_t>(event.startThreadId());
      record_.spans.push_back({.name = index_of(event.name()),
                               .begin_ns = static_cast<int64_t>(event.startNs()),
                               .end_ns = static_cast<int64_t>(event.endNs()),
                               .thread = on_cpu ? thread : event.deviceResourceId(),
                               .device = on_cpu ? -1 : event.deviceIndex()});
    }
  }
  uint32_t index_of(const std::string& name) {
    const auto next = static_cast<uint32_t>(record_.names.size());
    const auto [found, is_new] = indices_.emplace(name, next);
    if (is_new) record_.names.push_back(name);
    return found->second;
  }

  mutable std::mutex mutex_;
  int64_t window_thread_ = 0;  // 0: no window is open
  bool is_recording_ = false;
  size_t max_events_ = kMaxKinetoEvents;
  std::set<ActivityType> activities_;
  KinetoRecord record_;
  std::unordered_map<std::string, uint32_t> indices_;
};

// Never destroyed: LibTorch's own statics may be gone before.
Recorder& recorder() {
  static auto* const instance = new Recorder;
  return *instance;
}

}  // namespace

KinetoWindow::KinetoWindow(bool wanted, c10::Device device, size_t max_events) {
  try {
    open_ = wanted && recorder().open(device, max_events);
  } catch (const std::exception& error) {
    core::log(core::LogLevel::kWarn,
              core::str("LibTorch's profiler does not start: ", error.what()));
  }
}

KinetoWindow::~KinetoWindow() {
  if (!open_) return;
  try {
    recorder().close();
  } catch (...) {  // the profiler has failed: the trace lacks its part
    return;
  }
}

void kineto_boundary() noexcept {
  if (!core::is_tracing()) return;
  try {
    recorder().turn_over();
  } catch (...) {  // as above
    return;
  }
}

KinetoRecord kineto_record() { return recorder().copy(); }

}  // namespace t2v::pipeline
