#include "cli/console.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/streams.h"
#include "core/check.h"
#include "core/escape.h"

namespace t2v::cli {
namespace {

using core::str;
using namespace std::chrono_literals;

constexpr auto kBarInterval = 100ms;  // quick enough for the eye, cheap for a slow terminal
constexpr auto kPlainInterval = 10s;  // logs stay short
constexpr auto kJsonInterval = 200ms;
constexpr size_t kBarCells = 24;

ProgressMode resolve(const TalkOptions& options) {
  if (options.progress != ProgressMode::kAuto) return options.progress;
  if (options.verbosity == Verbosity::kQuiet) return ProgressMode::kNone;
  return stderr_is_terminal() && !options.dumb_terminal ? ProgressMode::kBar : ProgressMode::kPlain;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool is_finished(const ProgressEvent& event) {
  return event.total > 0 && event.done >= event.total;
}

bool is_edge(const ProgressEvent& event) {
  return (event.done <= 0 && event.bytes_done <= 0) || is_finished(event);
}

bool is_loading(const ProgressEvent& event) {
  return event.bytes_total > 0 || event.stage == Stage::kLoadTextEncoder ||
         event.stage == Stage::kLoadTransformer || event.stage == Stage::kLoadVae;
}

std::string bar_of(int64_t done, int64_t total) {
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const auto filled = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * kBarCells);
  return str("  [", std::string(filled, '#'), std::string(kBarCells - filled, '.'), "]  ");
}

std::string rate_text(double gb_per_s) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GB/s", gb_per_s);
  return text;
}

}  // namespace

std::string duration_text(double seconds) {
  char text[48];
  if (seconds < 59.95) {
    std::snprintf(text, sizeof text, "%.1f s", seconds);
    return text;
  }
  const auto whole = static_cast<long long>(std::llround(std::min(seconds, 1e12)));
  const long long hours = whole / 3600;
  const long long minutes = whole / 60 % 60;
  if (hours == 0) {
    std::snprintf(text, sizeof text, "%lld:%02lld min", minutes, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld h", hours, minutes, whole % 60);
  }
  return text;
}

std::string bytes_text(int64_t bytes) {
  char text[32];
  if (bytes < 1'000'000'000) {
    std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  }
  return text;
}

std::string stage_words(Stage stage) {
  std::string words = stage_name(stage);
  std::replace(words.begin(), words.end(), '_', ' ');
  return words;
}

Console::Console(const TalkOptions& options)
    : mode_(resolve(options)),
      quiet_(options.verbosity == Verbosity::kQuiet),
      begin_(Clock::now()) {}

Console::~Console() { end_line(); }

void Console::begin(const std::string& title) {
  end_line();
  title_ = title;
  visits_.clear();
  stage_.reset();
  begin_ = Clock::now();
}

void Console::on_progress(const ProgressEvent& event) {
  if (mode_ == ProgressMode::kNone) return;
  const Clock::time_point now = Clock::now();
  const bool first_visit = !visits_.contains(event.stage);
  const bool entered = enter(event);
  const auto interval = mode_ == ProgressMode::kBar     ? Clock::duration(kBarInterval)
                        : mode_ == ProgressMode::kPlain ? Clock::duration(kPlainInterval)
                                                        : Clock::duration(kJsonInterval);
  // A log gets no line for each change between stages, a rewritten line does.
  const bool fresh = first_visit || (entered && mode_ != ProgressMode::kPlain);
  if (!fresh && !is_edge(event) && now - last_shown_ < interval) return;
  last_shown_ = now;
  if (mode_ == ProgressMode::kBar) show_bar(event);
  if (mode_ == ProgressMode::kPlain) show_plain(event, first_visit);
  if (mode_ == ProgressMode::kJson) show_json(event);
}

bool Console::enter(const ProgressEvent& event) {
  if (stage_ == event.stage) return false;
  stage_ = event.stage;
  const Clock::time_point now = Clock::now();
  StageVisit& visit =
      visits_.try_emplace(event.stage, StageVisit{.first_start = now, .start = now}).first->second;
  visit.start = now;
  visit.done_at_start = event.done;
  visit.bytes_at_start = event.bytes_done;
  return true;
}

double Console::seconds_left(const ProgressEvent& event) const {
  const StageVisit& visit = visits_.at(event.stage);
  const bool by_bytes = event.bytes_total > 0;
  const int64_t done =
      by_bytes ? event.bytes_done - visit.bytes_at_start : event.done - visit.done_at_start;
  const int64_t left = by_bytes ? event.bytes_total - event.bytes_done : event.total - event.done;
  if (done <= 0 || left < 0) return -1;
  return seconds_since(visit.start) / static_cast<double>(done) * static_cast<double>(left);
}

double Console::gb_per_s(const ProgressEvent& event) const {
  const StageVisit& visit = visits_.at(event.stage);
  const double seconds = seconds_since(visit.start);
  if (event.bytes_done <= visit.bytes_at_start || seconds <= 0) return -1;
  return static_cast<double>(event.bytes_done - visit.bytes_at_start) / 1e9 / seconds;
}

void Console::show_bar(const ProgressEvent& event) {
  std::string line = title_.empty() ? "" : title_ + ": ";
  line += stage_words(event.stage);
  if (event.bytes_total > 0) {
    line += str(bar_of(event.bytes_done, event.bytes_total), bytes_text(event.bytes_done), " of ",
                bytes_text(event.bytes_total));
  } else if (event.total > 0) {
    line += str(bar_of(event.done, event.total), event.done, "/", event.total);
  }
  if (const double rate = gb_per_s(event); rate >= 0) line += "  " + rate_text(rate);
  if (!event.expert.empty()) line += "  " + event.expert;
  if (const double left = seconds_left(event); left >= 0)
    line += "  " + duration_text(left) + " left";
  // Wrapped lines could not be rewritten.
  line = core::escape_control(line).substr(
      0, static_cast<size_t>(std::max(terminal_columns() - 1, 10)));
  write_stderr(str("\r\x1b[K", line));
  line_open_ = true;
}

void Console::show_plain(const ProgressEvent& event, bool first_visit) {
  std::string line = str("t2v: ", title_.empty() ? "" : title_ + ": ", stage_words(event.stage));
  if (!event.expert.empty()) line += str(" (", event.expert, ")");
  const double rate = gb_per_s(event);
  if (is_finished(event)) {
    line += str(" done in ", duration_text(seconds_since(visits_.at(event.stage).first_start)));
    if (rate >= 0) line += str(", ", bytes_text(event.bytes_done), ", ", rate_text(rate));
  } else if (!first_visit && (event.total > 0 || event.bytes_total > 0)) {
    line += event.bytes_total > 0
                ? str(" ", bytes_text(event.bytes_done), " of ", bytes_text(event.bytes_total))
                : str(" ", event.done, "/", event.total);
    if (rate >= 0) line += ", " + rate_text(rate);
    if (const double left = seconds_left(event); left >= 0)
      line += str(", ", duration_text(left), " left");
  }
  write_stderr(core::escape_control(line) + "\n");
}

void Console::show_json(const ProgressEvent& event) {
  nlohmann::ordered_json line = {
      {"event", "progress"},
      {"stage", stage_name(event.stage)},
      {"done", event.done},
      {"total", event.total},
      {"expert", event.expert},
      {"elapsed_ms",
       std::round(std::chrono::duration<double, std::milli>(Clock::now() - begin_).count())}};
  if (is_loading(event)) {
    line["bytes_done"] = event.bytes_done;
    line["bytes_total"] = event.bytes_total;
    line["gb_per_s"] = std::max(gb_per_s(event), 0.0);
  }
  if (const double left = seconds_left(event); left >= 0) line["eta_ms"] = std::round(left * 1000);
  if (!title_.empty()) line["title"] = title_;
  write_stderr(line.dump() + "\n");
}

void Console::end_line() noexcept {
  if (line_open_) write_stderr("\r\x1b[K");
  line_open_ = false;
}

void Console::tell(const std::string& text) {
  if (quiet_ || mode_ == ProgressMode::kJson || text.empty()) return;
  end_line();
  write_stderr(text);
}

void Console::tell_json(const std::string& line) {
  if (mode_ == ProgressMode::kJson) write_stderr(line + "\n");
}

void Console::warn(const std::string& text) {
  if (quiet_) return;
  end_line();
  write_stderr("t2v: warning: " + core::escape_control(text) + "\n");
}

}  // namespace t2v::cli
