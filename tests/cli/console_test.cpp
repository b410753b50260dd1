// Progress as people and programs see it, by a clock that tests move.
#include "cli/console.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <vector>

namespace t2v::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Screen {
  Clock::time_point now{std::chrono::hours(1)};
  std::vector<std::string> writes;
  int width = 200;

  ConsoleSurface surface(bool is_terminal) {
    return {.now = [this] { return now; },
            .write = [this](std::string_view text) { writes.emplace_back(text); },
            .columns = [this] { return width; },
            .is_terminal = is_terminal};
  }
  std::string take() {
    std::string all;
    for (const std::string& text : writes) all += text;
    writes.clear();
    return all;
  }
};

TalkOptions talk(ProgressMode mode) { return {.progress = mode}; }

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

ProgressEvent step(int64_t done, size_t item = 0) {
  return {.stage = Stage::kDenoise,
          .done = done,
          .total = 50,
          .expert = "high_noise",
          .item = item,
          .host_bytes = 3'200'000'000,
          .device_bytes = 21'000'000'000};
}

ProgressEvent event_of(Stage stage, int64_t done, int64_t total) {
  ProgressEvent event;
  event.stage = stage;
  event.done = done;
  event.total = total;
  return event;
}

ProgressEvent beside(Stage stage, int64_t done, int64_t total) {
  ProgressEvent event = event_of(stage, done, total);
  event.background = true;
  return event;
}

TEST_CASE("the line of a terminal has stage, step, pace, time left, expert and memory") {
  Screen screen;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("video 2 of 5");
  console.on_progress(step(0));
  screen.now += milliseconds(24'000);
  console.on_progress(step(2));
  const std::string line = screen.writes.back();
  CHECK(line.starts_with("\r\x1b[K"));
  for (const char* part : {"video 2 of 5: denoise", "step 2/50", "high_noise", "12.0 s/step",
                           "9:36 min left", "3.20 GB + GPU 21.00 GB"}) {
    CAPTURE(part, line);
    CHECK(has(line, part));
  }
  CHECK_FALSE(has(line, "\n"));
}

TEST_CASE("a line is never wider than the terminal, and quick events do not redraw it") {
  Screen screen;
  screen.width = 30;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("video 2 of 5");
  console.on_progress(step(0));
  CHECK(screen.writes.back().size() <= 29 + 4);
  screen.take();
  for (int i = 1; i < 20; ++i) {
    screen.now += milliseconds(1);
    console.on_progress(step(i));
  }
  CHECK(screen.writes.empty());
  screen.now += milliseconds(100);
  console.on_progress(step(20));
  CHECK(screen.writes.size() == 1);
}

TEST_CASE("decoding beside denoising stands behind the line and stops no clock") {
  Screen screen;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("video 1 of 2", 0);
  console.begin("video 2 of 2", 1);
  console.on_progress(step(0, 1));
  for (int i = 1; i <= 4; ++i) {
    screen.now += milliseconds(5'000);
    console.on_progress(beside(Stage::kVaeDecode, 20 * i, 81));
    screen.now += milliseconds(5'000);
    console.on_progress(step(i, 1));
  }
  const std::string line = screen.writes.back();
  CAPTURE(line);
  CHECK(has(line, "video 2 of 2: denoise"));
  CHECK(has(line, "step 4/50"));
  CHECK(has(line, "10.0 s/step"));
  CHECK(has(line, "| video 1 of 2: vae decode 80/81"));
  // Its file is whole: it is gone from the line.
  console.on_progress(beside(Stage::kVideoEncode, 1, 1));
  screen.now += milliseconds(1'000);
  console.on_progress(step(5, 1));
  CHECK_FALSE(has(screen.writes.back(), "video 1 of 2"));
}

TEST_CASE("videos that step together are told as such") {
  Screen screen;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("video 1 of 9", 0);
  console.begin("video 2 of 9", 1);
  ProgressEvent event = step(3, 0);
  event.together = 2;
  console.on_progress(event);
  CHECK(has(screen.take(), "video 1 of 9 (+1): denoise"));
}

TEST_CASE("an expert that is loaded in the middle does not count for the pace of steps") {
  Screen screen;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("");
  console.on_progress(step(0));
  screen.now += milliseconds(1'000);
  console.on_progress(step(1));
  console.on_progress(event_of(Stage::kLoadTransformer, 0, 40));
  screen.now += milliseconds(60'000);
  console.on_progress(step(1));
  screen.now += milliseconds(2'000);
  console.on_progress(step(2));
  CHECK(has(screen.take(), "2.00 s/step"));
}

TEST_CASE("a log gets few lines, each whole") {
  Screen screen;
  Console console(talk(ProgressMode::kPlain), screen.surface(false));
  console.begin("video 1 of 2");
  for (int64_t i = 0; i <= 50; ++i) {
    console.on_progress(step(i));
    screen.now += milliseconds(1'000);
  }
  CHECK(screen.writes.size() < 10);
  for (const std::string& line : screen.writes) {
    CHECK(line.starts_with("t2v: video 1 of 2: denoise (high_noise)"));
    CHECK(line.ends_with("\n"));
    CHECK_FALSE(has(line, "\x1b"));
  }
  CHECK(has(screen.writes.at(2), "step 20/50, 1.00 s/step, 30.0 s left, 3.20 GB"));
  CHECK(has(screen.writes.back(), "done in 50.0 s"));
}

TEST_CASE("a line of JSON has the documented fields") {
  Screen screen;
  Console console(talk(ProgressMode::kJson), screen.surface(false));
  console.begin("video 3 of 4", 2);
  console.on_progress(step(0, 2));
  screen.now += milliseconds(4'000);
  ProgressEvent event = step(2, 2);
  event.predicted = true;
  console.on_progress(event);
  const auto line = nlohmann::json::parse(screen.writes.at(1));
  CHECK(line["event"] == "progress");
  CHECK(line["stage"] == "denoise");
  CHECK(line["done"] == 2);
  CHECK(line["total"] == 50);
  CHECK(line["elapsed_ms"] == 4000);
  CHECK(line["eta_ms"] == 96000);
  CHECK(line["s_per_step"] == 2.0);
  CHECK(line["item"] == 2);
  CHECK(line["together"] == 1);
  CHECK(line["background"] == false);
  CHECK(line["predicted"] == true);
  CHECK(line["host_bytes"] == 3'200'000'000);
  CHECK(line["device_bytes"] == 21'000'000'000);
  CHECK(line["title"] == "video 3 of 4");
}

TEST_CASE("texts of later videos are told as such, and leave the line when they are done") {
  Screen screen;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("video 1 of 5");
  console.on_progress(step(1));
  console.on_progress(beside(Stage::kTextEncode, 3, 24));
  CHECK(has(screen.writes.back(), "| later videos: "));
  console.on_progress(beside(Stage::kTextEncode, 24, 24));
  screen.now += milliseconds(200);
  console.on_progress(step(2));
  CHECK(has(screen.writes.back(), "video 1 of 5: denoise"));
  CHECK_FALSE(has(screen.writes.back(), "later videos"));
}

TEST_CASE("the line goes on when the video that it began with has its file before the others") {
  Screen screen;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("video 1 of 2", 0);
  console.begin("video 2 of 2", 1);
  console.on_progress(step(50));
  console.on_progress(beside(Stage::kVideoEncode, 1, 1));
  ProgressEvent second = beside(Stage::kVaeDecode, 3, 17);
  second.item = 1;
  screen.now += milliseconds(200);
  console.on_progress(second);
  CHECK(has(screen.writes.back(), "video 2 of 2: vae decode"));
  CHECK_FALSE(has(screen.writes.back(), "denoise"));
}

TEST_CASE("a narrow terminal gets a shorter bar, and everything behind it") {
  Screen screen;
  screen.width = 80;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("");
  ProgressEvent event = step(0);
  event.device_bytes = 0;
  console.on_progress(event);
  screen.now += milliseconds(24'000);
  event.done = 25;
  console.on_progress(event);
  const std::string line = screen.writes.back().substr(4);
  CHECK(line.size() == 79);
  CHECK(line.ends_with("3.20 GB"));
  CHECK(has(line, "[###"));
}

TEST_CASE("what goes on beside is told whole or not at all") {
  Screen screen;
  screen.width = 75;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("video 1 of 2", 0);
  console.begin("video 2 of 2", 1);
  console.on_progress(step(1, 1));
  console.on_progress(beside(Stage::kVaeDecode, 0, 81));
  CHECK(has(screen.writes.back(), "GPU 21.00 GB"));
  CHECK_FALSE(has(screen.writes.back(), "|"));
  screen.width = 110;
  console.on_progress(beside(Stage::kVaeDecode, 81, 81));
  CHECK(screen.writes.back().ends_with("| video 1 of 2: vae decode 81/81"));
}

TEST_CASE("text for people comes between lines, not into them") {
  Screen screen;
  Console console(talk(ProgressMode::kBar), screen.surface(true));
  console.begin("");
  console.on_progress(step(1));
  screen.take();
  console.tell("t2v: wrote a.mp4\n");
  CHECK(screen.take() == "\r\x1b[Kt2v: wrote a.mp4\n");
  console.on_progress(step(1));
  CHECK(screen.writes.empty());  // the interval is not over
  screen.now += milliseconds(200);
  console.on_progress(step(2));
  CHECK(has(screen.take(), "step 2/50"));
}

TEST_CASE("auto is a bar on a terminal, lines elsewhere, nothing with -q") {
  const auto shown = [](TalkOptions options, bool is_terminal) {
    Screen screen;
    Console console(options, screen.surface(is_terminal));
    console.on_progress(step(0));
    return screen.take();
  };
  CHECK(has(shown({}, true), "\r"));
  CHECK_FALSE(has(shown({}, false), "\r"));
  CHECK(has(shown({.dumb_terminal = true}, true), "\n"));
  CHECK(shown({.verbosity = Verbosity::kQuiet}, true).empty());
}

}  // namespace
}  // namespace t2v::cli
