// Progress on standard error: a line that rewrites itself, plain lines, JSON lines or nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "cli/options.h"
#include "t2v/progress.h"

namespace t2v::cli {

// One thread at a time.
class Console : public ProgressListener {
 public:
  explicit Console(const TalkOptions& options);
  ~Console() override;

  // A new piece of work; title: "video 2 of 5", "" for none.
  void begin(const std::string& title);
  void on_progress(const ProgressEvent& event) override;
  // Removes the rewritten line, so that other text can follow.
  void end_line() noexcept;

  // Text for people, "" for none; shown unless -q was given or progress is JSON.
  void tell(const std::string& text);
  // A machine-readable line; shown when progress is JSON.
  void tell_json(const std::string& line);
  // Shown unless -q was given.
  void warn(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;

  void show_bar(const ProgressEvent& event);
  void show_plain(const ProgressEvent& event, bool first_visit);
  void show_json(const ProgressEvent& event);
  // Takes note of the event's stage; true when it was not the current one.
  bool enter(const ProgressEvent& event);
  // Seconds to the end of the stage; negative when unknown.
  [[nodiscard]] double seconds_left(const ProgressEvent& event) const;
  // Of this visit, in 10^9 bytes; negative when no bytes were told.
  [[nodiscard]] double gb_per_s(const ProgressEvent& event) const;

  ProgressMode mode_;
  bool quiet_;
  std::string title_;
  // Stages can interleave: an expert is loaded in the middle of denoising.
  struct StageVisit {
    Clock::time_point first_start;  // of the first visit
    Clock::time_point start;        // of this visit
    int64_t done_at_start = 0;      // units finished before this visit
    int64_t bytes_at_start = 0;     // bytes read before this visit
  };
  std::map<Stage, StageVisit> visits_;
  std::optional<Stage> stage_;
  Clock::time_point last_shown_;
  Clock::time_point begin_;
  bool line_open_ = false;
};

// "1.2 s", "2:05 min", "1:02:05 h".
std::string duration_text(double seconds);

// "12.34 GB" of 10^9 bytes, "12.3 MB" below that.
std::string bytes_text(int64_t bytes);

// "load text encoder" for kLoadTextEncoder.
std::string stage_words(Stage stage);

}  // namespace t2v::cli
