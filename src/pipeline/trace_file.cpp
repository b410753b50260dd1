#include "pipeline/trace_file.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "t2v/version.h"

namespace t2v::pipeline {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kBufferBytes = size_t{1} << 20;
// Groups of rows. Kineto's stand below ours: its clock is another, so that they need not nest.
constexpr int64_t kOwnRows = 1;
constexpr int64_t kKinetoRows = 2;
constexpr int64_t kDeviceRows = 10;  // plus the device's index

struct Row {
  int64_t group = kOwnRows;
  int64_t thread = 0;
};

class Writer {
 public:
  Writer(const std::string& path, int64_t zero_ns) : file_(path), zero_ns_(zero_ns) {}

  // A span from begin to end; one that may overlap others is told by both ends.
  void span(const char* category, std::string_view name, Row row, int64_t begin_ns,
            int64_t end_ns) {
    open(category, name, row, begin_ns);
    buffer_ += R"(,"ph":"X","dur":)";
    add_micros(std::max<int64_t>(end_ns - begin_ns, 0));
  }
  void end_of(const char* category, std::string_view name, Row row, int64_t at_ns, char phase,
              size_t id) {
    open(category, name, row, at_ns);
    buffer_ += std::string(R"(,"ph":")") + phase + R"(","id":)" + std::to_string(id);
  }
  // Of the event that was begun last.
  void detail(std::string_view text) {
    if (text.empty()) return;
    buffer_ += R"(,"args":{"detail":)";
    add_quoted(text);
    buffer_ += '}';
  }
  void close() {
    buffer_ += '}';
    if (buffer_.size() >= kBufferBytes) flush();
  }
  void text(std::string_view more) { buffer_ += more; }
  void event(const Json& json) {
    separate();
    buffer_ += json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  void commit() {
    flush();
    file_.commit();
  }

 private:
  void separate() { buffer_ += std::exchange(is_first_, false) ? "\n" : ",\n"; }
  void open(const char* category, std::string_view name, Row row, int64_t begin_ns) {
    separate();
    buffer_ += R"({"cat":")";
    buffer_ += category;
    buffer_ += R"(","name":)";
    add_quoted(name);
    buffer_ += R"(,"pid":)" + std::to_string(row.group) + R"(,"tid":)" + std::to_string(row.thread);
    buffer_ += R"(,"ts":)";
    add_micros(begin_ns - zero_ns_);
  }
  void add_quoted(std::string_view text) {
    buffer_ += Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  void add_micros(int64_t ns) {
    char text[40];
    std::snprintf(text, sizeof text, "%.3f", static_cast<double>(ns) * 1e-3);
    buffer_ += text;
  }
  void flush() {
    file_.write(buffer_.data(), buffer_.size());
    buffer_.clear();
  }

  core::AtomicFile file_;
  int64_t zero_ns_;
  std::string buffer_;
  bool is_first_ = true;
};

int64_t first_ns(const core::TraceRecord& own, const KinetoRecord& kineto) {
  int64_t first = std::numeric_limits<int64_t>::max();
  for (const auto& span : own.spans) first = std::min(first, span.begin_ns);
  for (const auto& span : kineto.spans) first = std::min(first, span.begin_ns);
  return first;
}

Row row_of(const KinetoSpan& span) {
  if (span.device < 0) return {kKinetoRows, span.thread};
  return {kDeviceRows + span.device, span.thread};
}

void write_names(const core::TraceRecord& own, const KinetoRecord& kineto, Writer& writer) {
  const auto name_group = [&](int64_t group, const std::string& name) {
    writer.event(
        {{"name", "process_name"}, {"ph", "M"}, {"pid", group}, {"args", {{"name", name}}}});
  };
  name_group(kOwnRows, "t2v");
  if (!kineto.spans.empty()) name_group(kKinetoRows, "LibTorch (Kineto)");
  std::set<int> devices;
  for (const KinetoSpan& span : kineto.spans)
    if (span.device >= 0 && devices.insert(span.device).second)
      name_group(kDeviceRows + span.device, core::str("GPU ", span.device));
  for (const auto& [thread, name] : own.threads) {
    for (const int64_t group : {kOwnRows, kKinetoRows})
      writer.event({{"name", "thread_name"},
                    {"ph", "M"},
                    {"pid", group},
                    {"tid", thread},
                    {"args", {{"name", name}}}});
  }
}

void write_own(const core::TraceRecord& own, Writer& writer) {
  size_t id = 0;
  for (const core::RecordedSpan& span : own.spans) {
    const Row row{kOwnRows, span.thread};
    if (span.kind != core::SpanKind::kAcross) {
      writer.span(span.category, span.name, row, span.begin_ns, span.end_ns);
      writer.detail(span.detail);
      writer.close();
      continue;
    }
    ++id;
    writer.end_of(span.category, span.name, row, span.begin_ns, 'b', id);
    writer.detail(span.detail);
    writer.close();
    writer.end_of(span.category, span.name, row, span.end_ns, 'e', id);
    writer.close();
  }
}

}  // namespace

void write_trace_file(const std::string& path, const core::TraceRecord& own,
                      const KinetoRecord& kineto) {
  const int64_t zero_ns = first_ns(own, kineto);
  Writer writer(path, zero_ns);
  writer.text(R"({"displayTimeUnit":"ms","traceEvents":[)");
  write_names(own, kineto, writer);
  write_own(own, writer);
  for (const KinetoSpan& span : kineto.spans) {
    writer.span(span.device < 0 ? "aten" : "kernel", kineto.names[span.name], row_of(span),
                span.begin_ns, span.end_ns);
    writer.close();
  }
  Json about = {{"t2v", kVersion},
                {"left_out", own.left_out},
                {"kineto_left_out", kineto.left_out},
                {"kineto_ended_ms", nullptr}};
  if (kineto.ended_ns)
    about["kineto_ended_ms"] = static_cast<double>(*kineto.ended_ns - zero_ns) * 1e-6;
  writer.text("\n],\"otherData\":");
  writer.text(about.dump());
  writer.text("}\n");
  writer.commit();
}

}  // namespace t2v::pipeline
