// Spans: recorded when tracing is on, nested as they were made, bounded in number.
#include "core/trace.h"

#include <catch2/catch.hpp>
#include <thread>

namespace t2v::core {
namespace {

const RecordedSpan* find(const TraceRecord& record, const std::string& name) {
  for (const RecordedSpan& span : record.spans)
    if (span.name == name) return &span;
  return nullptr;
}

// One case: tracing never ends once it has begun.
TEST_CASE("spans are recorded from the begin of tracing on, and never more than so many") {
  { const TraceSpan before("op", "before"); }
  CHECK_FALSE(is_tracing());
  start_tracing();
  CHECK(is_tracing());
  {
    TraceSpan outer("stage", "outer", -1, SpanKind::kCoarse);
    outer.set_detail("why");
    const TraceSpan inner("block", "inner", 7);
  }
  std::thread([] {
    name_thread("other");
    const TraceSpan span("read", "elsewhere");
  }).join();
  const TraceRecord few = trace_record();
  CHECK(find(few, "before") == nullptr);
  const RecordedSpan* outer = find(few, "outer");
  const RecordedSpan* inner = find(few, "inner 7");
  const RecordedSpan* other = find(few, "elsewhere");
  REQUIRE((outer && inner && other));
  CHECK(outer->detail == "why");
  CHECK(outer->begin_ns <= inner->begin_ns);
  CHECK(inner->end_ns <= outer->end_ns);
  CHECK(inner->begin_ns <= inner->end_ns);
  CHECK(outer->thread == thread_number());
  CHECK(other->thread != outer->thread);
  CHECK(few.threads.at(other->thread) == "other");
  CHECK(few.left_out.empty());

  // Fine ones are left out first.
  for (size_t i = 0; i < kMaxFineSpans + 10; ++i) const TraceSpan span("op", "fine");
  { const TraceSpan coarse("step", "coarse", -1, SpanKind::kCoarse); }
  const TraceRecord many = trace_record();
  CHECK(many.left_out.at("op") >= 10);
  CHECK(find(many, "coarse") != nullptr);
  CHECK(many.left_out.count("step") == 0);
  for (size_t i = 0; i < kMaxSpans; ++i)
    const TraceSpan span("step", "many", -1, SpanKind::kCoarse);
  CHECK(trace_record().spans.size() == kMaxSpans);
  CHECK(trace_record().left_out.at("step") > 0);
}

}  // namespace
}  // namespace t2v::core
