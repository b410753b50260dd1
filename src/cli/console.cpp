#include "cli/console.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

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
constexpr size_t kLeastCells = 4;  // a shorter bar tells nothing

ProgressMode resolve(const TalkOptions& options, bool is_terminal) {
  if (options.progress != ProgressMode::kAuto) return options.progress;
  if (options.verbosity == Verbosity::kQuiet) return ProgressMode::kNone;
  return is_terminal && !options.dumb_terminal ? ProgressMode::kBar : ProgressMode::kPlain;
}

std::chrono::steady_clock::duration interval_of(ProgressMode mode) {
  if (mode == ProgressMode::kBar) return kBarInterval;
  return mode == ProgressMode::kPlain ? std::chrono::steady_clock::duration(kPlainInterval)
                                      : kJsonInterval;
}

// Of the loop whose units are worth a time each.
bool counts_steps(const ProgressEvent& event) { return event.stage == Stage::kDenoise; }

bool is_finished(const ProgressEvent& event) {
  return event.total > 0 && event.done >= event.total;
}

bool is_of_later_texts(const ProgressEvent& event) {
  return event.background && event.stage == Stage::kTextEncode;
}

bool is_edge(const ProgressEvent& event) {
  return (event.done <= 0 && event.bytes_done <= 0) || is_finished(event);
}

bool is_loading(const ProgressEvent& event) {
  return event.bytes_total > 0 || event.stage == Stage::kLoadTextEncoder ||
         event.stage == Stage::kLoadTransformer || event.stage == Stage::kLoadVae;
}

// "  [####....]", as long as there is room; "" for too little.
std::string bar_of(double share, size_t room) {
  if (room < kLeastCells + 4) return "";
  const size_t cells = std::min(room - 4, kBarCells);
  const auto filled = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(cells));
  return str("  [", std::string(filled, '#'), std::string(cells - filled, '.'), "]");
}

double share_done(const ProgressEvent& event) {
  const bool in_bytes = event.bytes_total > 0;
  return static_cast<double>(in_bytes ? event.bytes_done : event.done) /
         static_cast<double>(in_bytes ? event.bytes_total : event.total);
}

std::string rate_text(double gb_per_s) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GB/s", gb_per_s);
  return text;
}

// "12.3 s/step"
std::string pace_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, seconds < 10 ? "%.2f s/step" : "%.1f s/step", seconds);
  return text;
}

// "7/50" of layers or frames, "step 7/50" of steps.
std::string count_text(const ProgressEvent& event) {
  return str(counts_steps(event) ? "step " : "", event.done, "/", event.total);
}

// "3.20 GB", with a GPU "3.20 GB + GPU 21.10 GB"; "" when it was not looked at.
std::string memory_text(const ProgressEvent& event) {
  if (event.host_bytes <= 0) return "";
  std::string text = bytes_text(event.host_bytes);
  if (event.device_bytes > 0) text += " + GPU " + bytes_text(event.device_bytes);
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

ConsoleSurface standard_error() {
  return {.now = [] { return std::chrono::steady_clock::now(); },
          .write = [](std::string_view text) { write_stderr(text); },
          .columns = [] { return terminal_columns(); },
          .is_terminal = stderr_is_terminal()};
}

Console::Console(const TalkOptions& options, ConsoleSurface surface)
    : mode_(resolve(options, surface.is_terminal)),
      quiet_(options.verbosity == Verbosity::kQuiet),
      surface_(std::move(surface)) {}

Console::~Console() { end_line(); }

void Console::begin(const std::string& title, size_t item) {
  end_line();
  works_[item] = {.title = title, .begin = surface_.now(), .visits = {}};
  if (foreground_.last && foreground_.last->item == item) foreground_.last.reset();
}

void Console::on_progress(const ProgressEvent& event) {
  if (mode_ == ProgressMode::kNone) return;
  const Clock::time_point now = surface_.now();
  const bool first_visit = !work_of(event).visits.contains(event.stage);
  const bool entered = enter(event);
  Track& track = event.background ? background_ : foreground_;
  track.last = event;
  // A log gets no line for each change between stages, a rewritten line does.
  const bool fresh = first_visit || (entered && mode_ != ProgressMode::kPlain);
  if (fresh || is_edge(event) || now - track.last_shown >= interval_of(mode_)) {
    track.last_shown = now;
    if (mode_ == ProgressMode::kBar) show_bar();
    if (mode_ == ProgressMode::kPlain) show_plain(event, first_visit);
    if (mode_ == ProgressMode::kJson) show_json(event);
  }
  const bool texts_ahead = is_of_later_texts(event);
  if ((event.stage != Stage::kVideoEncode && !texts_ahead) || !is_finished(event)) return;
  track.last.reset();
  if (texts_ahead) return;
  works_.erase(event.item);  // its file is whole
  if (foreground_.last && foreground_.last->item == event.item) foreground_.last.reset();
}

bool Console::enter(const ProgressEvent& event) {
  const Track& track = event.background ? background_ : foreground_;
  if (track.last && track.last->stage == event.stage && track.last->item == event.item)
    return false;
  const Clock::time_point now = surface_.now();
  StageVisit& visit =
      work_of(event)
          .visits.try_emplace(event.stage, StageVisit{.first_start = now, .start = now})
          .first->second;
  visit.start = now;
  visit.done_at_start = event.done;
  visit.bytes_at_start = event.bytes_done;
  return true;
}

Console::Work& Console::work_of(const ProgressEvent& event) {
  const auto found = works_.find(event.item);
  if (found != works_.end()) return found->second;
  return works_.emplace(event.item, Work{.title = "", .begin = surface_.now(), .visits = {}})
      .first->second;
}

const Console::StageVisit& Console::visit_of(const ProgressEvent& event) const {
  return works_.at(event.item).visits.at(event.stage);
}

std::string Console::title_of(const ProgressEvent& event) const {
  if (is_of_later_texts(event)) return "later videos: ";
  const std::string& title = works_.at(event.item).title;
  if (title.empty()) return "";
  return event.together > 1 ? str(title, " (+", event.together - 1, "): ") : title + ": ";
}

double Console::seconds_since(Clock::time_point start) const {
  return std::chrono::duration<double>(surface_.now() - start).count();
}

double Console::seconds_each(const ProgressEvent& event) const {
  const StageVisit& visit = visit_of(event);
  const int64_t done = event.done - visit.done_at_start;
  return done > 0 ? seconds_since(visit.start) / static_cast<double>(done) : -1;
}

double Console::seconds_left(const ProgressEvent& event) const {
  if (event.bytes_total <= 0) {
    const double each = seconds_each(event);
    const int64_t left = event.total - event.done;
    return each < 0 || left < 0 ? -1 : each * static_cast<double>(left);
  }
  const StageVisit& visit = visit_of(event);
  const int64_t done = event.bytes_done - visit.bytes_at_start;
  const int64_t left = event.bytes_total - event.bytes_done;
  if (done <= 0 || left < 0) return -1;
  return seconds_since(visit.start) / static_cast<double>(done) * static_cast<double>(left);
}

double Console::gb_per_s(const ProgressEvent& event) const {
  const StageVisit& visit = visit_of(event);
  const double seconds = seconds_since(visit.start);
  if (event.bytes_done <= visit.bytes_at_start || seconds <= 0) return -1;
  return static_cast<double>(event.bytes_done - visit.bytes_at_start) / 1e9 / seconds;
}

// What is worked on in the foreground; behind it what goes on beside.
void Console::show_bar() {
  const auto& front = foreground_.last ? foreground_.last : background_.last;
  const ProgressEvent& event = *front;
  const std::string name = core::escape_control(title_of(event) + stage_words(event.stage));
  std::string line;
  if (event.bytes_total > 0) {
    line = str("  ", bytes_text(event.bytes_done), " of ", bytes_text(event.bytes_total));
  } else if (event.total > 0) {
    line = "  " + count_text(event);
  }
  if (const double rate = gb_per_s(event); rate >= 0) line += "  " + rate_text(rate);
  if (!event.expert.empty()) line += "  " + event.expert;
  if (const double each = seconds_each(event); each >= 0 && counts_steps(event))
    line += "  " + pace_text(each);
  if (const double left = seconds_left(event); left >= 0)
    line += "  " + duration_text(left) + " left";
  if (const std::string memory = memory_text(event); !memory.empty()) line += "  " + memory;
  // Wrapped lines could not be rewritten.
  const auto width = static_cast<size_t>(std::max(surface_.columns() - 1, 10));
  line = name + core::escape_control(line);
  if (foreground_.last && background_.last) {
    const ProgressEvent& beside = *background_.last;
    std::string words =
        str("  | ", core::escape_control(title_of(beside)), stage_words(beside.stage));
    if (beside.total > 0) words += " " + count_text(beside);
    if (line.size() + words.size() <= width) line += words;  // else there is no room for it
  }
  if (event.bytes_total > 0 || event.total > 0)
    line.insert(name.size(), bar_of(share_done(event), width - std::min(width, line.size())));
  surface_.write(str("\r\x1b[K", line.substr(0, width)));
  line_open_ = true;
}

void Console::show_plain(const ProgressEvent& event, bool first_visit) {
  std::string line = str("t2v: ", title_of(event), stage_words(event.stage));
  if (!event.expert.empty()) line += str(" (", event.expert, ")");
  const double rate = gb_per_s(event);
  if (is_finished(event)) {
    line += str(" done in ", duration_text(seconds_since(visit_of(event).first_start)));
    if (rate >= 0) line += str(", ", bytes_text(event.bytes_done), ", ", rate_text(rate));
  } else if (!first_visit && (event.total > 0 || event.bytes_total > 0)) {
    line += event.bytes_total > 0
                ? str(" ", bytes_text(event.bytes_done), " of ", bytes_text(event.bytes_total))
                : " " + count_text(event);
    if (rate >= 0) line += ", " + rate_text(rate);
    if (const double each = seconds_each(event); each >= 0 && counts_steps(event))
      line += ", " + pace_text(each);
    if (const double left = seconds_left(event); left >= 0)
      line += str(", ", duration_text(left), " left");
    if (const std::string memory = memory_text(event); !memory.empty()) line += ", " + memory;
  }
  surface_.write(core::escape_control(line) + "\n");
}

void Console::show_json(const ProgressEvent& event) {
  const Work& work = works_.at(event.item);
  nlohmann::ordered_json line = {{"event", "progress"},
                                 {"stage", stage_name(event.stage)},
                                 {"done", event.done},
                                 {"total", event.total},
                                 {"expert", event.expert},
                                 {"elapsed_ms", std::round(seconds_since(work.begin) * 1000)},
                                 {"item", event.item},
                                 {"together", event.together},
                                 {"background", event.background},
                                 {"host_bytes", event.host_bytes},
                                 {"device_bytes", event.device_bytes}};
  if (is_loading(event)) {
    line["bytes_done"] = event.bytes_done;
    line["bytes_total"] = event.bytes_total;
    line["gb_per_s"] = std::max(gb_per_s(event), 0.0);
  }
  if (counts_steps(event)) line["predicted"] = event.predicted;
  if (const double each = seconds_each(event); each >= 0 && counts_steps(event))
    line["s_per_step"] = each;
  if (const double left = seconds_left(event); left >= 0) line["eta_ms"] = std::round(left * 1000);
  if (!work.title.empty()) line["title"] = work.title;
  surface_.write(line.dump() + "\n");
}

void Console::end_line() noexcept {
  if (line_open_) surface_.write("\r\x1b[K");
  line_open_ = false;
}

void Console::tell(const std::string& text) {
  if (quiet_ || mode_ == ProgressMode::kJson || text.empty()) return;
  end_line();
  surface_.write(text);
}

void Console::tell_json(const std::string& line) {
  if (mode_ == ProgressMode::kJson) surface_.write(line + "\n");
}

void Console::warn(const std::string& text) {
  if (quiet_) return;
  end_line();
  surface_.write("t2v: warning: " + core::escape_control(text) + "\n");
}

}  // namespace t2v::cli
