// Spans of time for a Chrome trace: any thread records them while tracing is on, at most so many.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace t2v::core {

// Of a process no more spans than this are kept: of fine ones (blocks, operations, reads) the first
// kMaxFineSpans, of stages, steps and videos kMaxSpans in all.
inline constexpr size_t kMaxFineSpans = 150'000;
inline constexpr size_t kMaxSpans = 200'000;

// kAcross: may begin and end on different threads, and overlap others.
enum class SpanKind { kFine, kCoarse, kAcross };

struct RecordedSpan {
  const char* category = "";
  std::string name;
  std::string detail;    // "" = none
  int64_t begin_ns = 0;  // of the Unix clock
  int64_t end_ns = 0;
  int64_t thread = 0;  // the system's number
  SpanKind kind = SpanKind::kFine;
};

struct TraceRecord {
  std::vector<RecordedSpan> spans;          // by their ends
  std::map<int64_t, std::string> threads;   // names
  std::map<std::string, int64_t> left_out;  // category: how many spans were not kept
};

// From now on, until the process ends. Spans that were recorded stay.
void start_tracing();
[[nodiscard]] bool is_tracing() noexcept;
// A copy of what there is.
[[nodiscard]] TraceRecord trace_record();
// Nanoseconds of the Unix clock that never run backwards.
[[nodiscard]] int64_t trace_clock_ns() noexcept;
// The calling thread's number, as the system has it.
[[nodiscard]] int64_t thread_number() noexcept;
// How the calling thread is called in the trace. Nothing unless tracing.
void name_thread(std::string_view name) noexcept;

// From its construction to its destruction; a look at a flag when tracing is off. category and name
// must stay; index < 0: none.
class TraceSpan {
 public:
  TraceSpan(const char* category, const char* name, int64_t index = -1,
            SpanKind kind = SpanKind::kFine) noexcept
      : category_(category), name_(name), index_(index), kind_(kind) {
    if (is_tracing()) begin_ns_ = trace_clock_ns();
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;
  ~TraceSpan() {
    if (begin_ns_ != 0) record();
  }

  // Shown beside the name.
  void set_detail(std::string_view detail) noexcept;

 private:
  void record() noexcept;

  const char* category_;
  const char* name_;
  int64_t index_;
  SpanKind kind_;
  int64_t begin_ns_ = 0;  // 0: not recorded
  std::string detail_;
};

}  // namespace t2v::core
