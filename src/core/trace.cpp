#include "core/trace.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>

namespace t2v::core {
namespace {

std::atomic<bool> tracing{false};

int64_t since_epoch(auto clock) noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             decltype(clock)::clock::now().time_since_epoch())
      .count();
}

int64_t steady_ns() noexcept { return since_epoch(std::chrono::steady_clock::time_point()); }
int64_t unix_ns() noexcept { return since_epoch(std::chrono::system_clock::time_point()); }

// What the process has recorded; one for all modules, which share this library.
class Recorder {
 public:
  void add(RecordedSpan span) {
    const std::lock_guard lock(mutex_);
    const bool fine = span.kind == SpanKind::kFine;
    if (record_.spans.size() >= kMaxSpans || (fine && num_fine_ >= kMaxFineSpans)) {
      ++record_.left_out[span.category];
      return;
    }
    num_fine_ += fine ? 1 : 0;
    record_.spans.push_back(std::move(span));
  }
  void name(int64_t thread, std::string_view name) {
    const std::lock_guard lock(mutex_);
    record_.threads.insert_or_assign(thread, std::string(name));
  }
  [[nodiscard]] TraceRecord copy() const {
    const std::lock_guard lock(mutex_);
    return record_;
  }

 private:
  mutable std::mutex mutex_;
  TraceRecord record_;
  size_t num_fine_ = 0;
};

// Never destroyed: threads may end behind main's static objects.
Recorder& recorder() {
  static auto* const instance = new Recorder;
  return *instance;
}

}  // namespace

void start_tracing() {
  recorder();
  static_cast<void>(trace_clock_ns());
  tracing.store(true);
}

bool is_tracing() noexcept { return tracing.load(std::memory_order_relaxed); }

TraceRecord trace_record() { return recorder().copy(); }

int64_t trace_clock_ns() noexcept {
  static const int64_t offset = unix_ns() - steady_ns();
  return steady_ns() + offset;
}

int64_t thread_number() noexcept {
  thread_local const int64_t number = ::gettid();
  return number;
}

void name_thread(std::string_view name) noexcept {
  if (!is_tracing()) return;
  try {
    recorder().name(thread_number(), name);
  } catch (...) {  // a trace without a name is still a trace
    return;
  }
}

void TraceSpan::set_detail(std::string_view detail) noexcept {
  if (begin_ns_ == 0) return;
  try {
    detail_ = detail;
  } catch (...) {  // a span without its detail is still a span
    return;
  }
}

void TraceSpan::record() noexcept {
  try {
    std::string name = name_;
    if (index_ >= 0) name += ' ' + std::to_string(index_);
    recorder().add({.category = category_,
                    .name = std::move(name),
                    .detail = std::move(detail_),
                    .begin_ns = begin_ns_,
                    .end_ns = trace_clock_ns(),
                    .thread = thread_number(),
                    .kind = kind_});
  } catch (...) {  // out of memory: the trace lacks this span
    return;
  }
}

}  // namespace t2v::core
