// Progress on standard error: a line that rewrites itself, plain lines, JSON lines or nothing.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "cli/options.h"
#include "t2v/progress.h"

namespace t2v::cli {

// What a console shows things on and tells the time by. By default standard error.
struct ConsoleSurface {
  std::function<std::chrono::steady_clock::time_point()> now;
  std::function<void(std::string_view)> write;
  std::function<int()> columns;
  bool is_terminal = false;
};
ConsoleSurface standard_error();

// One thread at a time. Events of several videos may come mixed: what is done beside the denoising
// of another video is told behind it, and no clock of one stands still for the other.
class Console : public ProgressListener {
 public:
  explicit Console(const TalkOptions& options, ConsoleSurface surface = standard_error());
  ~Console() override;

  // A new piece of work; title: "video 2 of 5", "" for none. item: that its events carry.
  void begin(const std::string& title, size_t item = 0);
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

  // Of one stage of one video. Stages can interleave: an expert is loaded in the middle of
  // denoising.
  struct StageVisit {
    Clock::time_point first_start;  // of the first visit
    Clock::time_point start;        // of this visit
    int64_t done_at_start = 0;      // units finished before this visit
    int64_t bytes_at_start = 0;     // bytes read before this visit
  };
  // Of one video.
  struct Work {
    std::string title;
    Clock::time_point begin;
    std::map<Stage, StageVisit> visits;
  };
  // What goes on in the foreground, and what beside it.
  struct Track {
    std::optional<ProgressEvent> last;
    Clock::time_point last_shown;
  };

  void show_bar();
  void show_plain(const ProgressEvent& event, bool first_visit);
  void show_json(const ProgressEvent& event);
  // Takes note of the event's stage; true when it was not the current one of its track.
  bool enter(const ProgressEvent& event);
  [[nodiscard]] Work& work_of(const ProgressEvent& event);
  [[nodiscard]] const StageVisit& visit_of(const ProgressEvent& event) const;
  // "video 2 of 5: ", with others that step together "video 2 of 5 (+3): ".
  [[nodiscard]] std::string title_of(const ProgressEvent& event) const;
  // Seconds to the end of the stage; negative when unknown.
  [[nodiscard]] double seconds_left(const ProgressEvent& event) const;
  // Of this visit; negative when none is done yet.
  [[nodiscard]] double seconds_each(const ProgressEvent& event) const;
  // Of this visit, in 10^9 bytes; negative when no bytes were told.
  [[nodiscard]] double gb_per_s(const ProgressEvent& event) const;
  [[nodiscard]] double seconds_since(Clock::time_point start) const;

  ProgressMode mode_;
  bool quiet_;
  ConsoleSurface surface_;
  std::map<size_t, Work> works_;  // by item
  Track foreground_, background_;
  bool line_open_ = false;
};

// "1.2 s", "2:05 min", "1:02:05 h".
std::string duration_text(double seconds);

// "12.34 GB" of 10^9 bytes, "12.3 MB" below that.
std::string bytes_text(int64_t bytes);

// "load text encoder" for kLoadTextEncoder.
std::string stage_words(Stage stage);

}  // namespace t2v::cli
