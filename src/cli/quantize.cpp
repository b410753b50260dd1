// t2v quantize: writes an INT8 copy of a model.
#include "t2v/quantize.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/parts.h"
#include "cli/quantize_report.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "core/atomic_file.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;
using Clock = std::chrono::steady_clock;

// On stderr: a line that rewrites itself, plain lines or JSON lines.
class QuantizeLine {
 public:
  explicit QuantizeLine(const TalkOptions& talk) : mode_(talk.progress) {
    if (talk.verbosity == Verbosity::kQuiet && mode_ != ProgressMode::kJson)
      mode_ = ProgressMode::kNone;
    if (mode_ == ProgressMode::kAuto)
      mode_ =
          stderr_is_terminal() && !talk.dumb_terminal ? ProgressMode::kBar : ProgressMode::kPlain;
  }
  QuantizeLine(const QuantizeLine&) = delete;
  QuantizeLine& operator=(const QuantizeLine&) = delete;
  ~QuantizeLine() {
    if (open_) write_stderr("\r\033[K");
  }

  void show(const QuantizeProgress& progress) {
    const auto now = Clock::now();
    const bool is_new = progress.component != component_;
    // Plain lines come with each component; the others four times a second as well.
    if (mode_ == ProgressMode::kNone ||
        (!is_new && (mode_ == ProgressMode::kPlain || now - last_ < kInterval)))
      return;
    component_ = progress.component;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double rate = seconds > 0 ? static_cast<double>(progress.bytes_done) / 1e9 / seconds : 0;
    write(progress, rate);
  }

 private:
  static constexpr std::chrono::milliseconds kInterval{250};

  void write(const QuantizeProgress& progress, double rate) {
    if (mode_ == ProgressMode::kJson) {
      const nlohmann::ordered_json line = {{"event", "progress"},
                                           {"stage", "quantize"},
                                           {"component", progress.component},
                                           {"bytes_done", progress.bytes_done},
                                           {"bytes_total", progress.bytes_total},
                                           {"gb_per_s", rate}};
      return write_stderr(line.dump() + "\n");
    }
    const std::string what = component_.empty() ? "files" : component_;
    if (mode_ == ProgressMode::kPlain) {
      if (!component_.empty()) write_stderr(str("quantize ", what, "\n"));
      return;
    }
    open_ = true;
    const int64_t total = std::max<int64_t>(progress.bytes_total, 1);
    const std::string speed = bytes_text(static_cast<int64_t>(rate * 1e9));
    write_stderr(str("\r\033[Kquantize ", what, "  ", 100 * progress.bytes_done / total, " % of ",
                     bytes_text(progress.bytes_total), ", ", speed, "/s"));
  }

  ProgressMode mode_;
  bool open_ = false;
  std::string component_ = "\n";  // of no component
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_ = begin_;
};

void save_report(const QuantizeReport& report, const std::string& path) {
  const std::string text = quantize_json(report);
  core::AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace

void run_quantize(const Invocation& invocation) {
  require_positionals(invocation, "MODEL");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  QuantizeOptions options;
  options.engine = read_running_options(flags);
  options.engine.model_path = invocation.positionals.front();
  options.folder = flags.path("output");
  const std::string report_path = flags.path("report");
  const TalkOptions talk = read_talk_options(flags);
  if (!flags.has("output"))
    problems.add("-o: missing (command line); try t2v quantize MODEL -o FOLDER");
  problems.throw_if_any();
  if (!report_path.empty()) core::require_writable(report_path, "--report");
  QuantizeReport report;
  {
    QuantizeLine line(talk);
    options.on_progress = [&line](const QuantizeProgress& progress) { line.show(progress); };
    report = quantize(options);
  }
  if (!report_path.empty()) save_report(report, report_path);
  if (flags.has("json")) write_stdout(quantize_json(report));
  if (talk.progress == ProgressMode::kJson) {
    const nlohmann::ordered_json done = {{"event", "done"}, {"folder", report.folder}};
    write_stderr(done.dump() + "\n");
  } else if (talk.verbosity != Verbosity::kQuiet) {
    write_stderr(quantize_table(report));
  }
}

}  // namespace t2v::cli
