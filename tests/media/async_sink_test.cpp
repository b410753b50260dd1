#include "media/async_sink.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <vector>

#include "t2v/error.h"

namespace t2v::media {
namespace {

struct Observed {
  std::vector<uint8_t> first_bytes;
  int finished = 0;
  int aborted = 0;
  std::thread::id thread;
  bool sigpipe_blocked = false;
};

class SlowSink : public MediaSink {
 public:
  SlowSink(Observed& observed, int fail_at = -1) : observed_(observed), fail_at_(fail_at) {}
  void begin(const VideoFormat& format) override {
    if (format.width == 13) throw Error(ErrorKind::kOutput, "cannot begin");
    observed_.thread = std::this_thread::get_id();
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    observed_.sigpipe_blocked =
        sigismember(&mask, SIGPIPE) == 1 && sigismember(&mask, SIGXFSZ) == 1;
  }
  void write(const uint8_t* rgb, int64_t num_frames) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (static_cast<int>(observed_.first_bytes.size()) == fail_at_)
      throw Error(ErrorKind::kOutput, "disk full");
    REQUIRE(num_frames == 1);
    observed_.first_bytes.push_back(*rgb);
  }
  void finish() override { ++observed_.finished; }
  void abort() noexcept override { ++observed_.aborted; }

 private:
  Observed& observed_;
  int fail_at_;
};

const VideoFormat kFormat{
    .width = 10, .height = 10, .num_frames = 40, .fps = 16, .recipe_json = ""};
constexpr int kFrameBytes = 300;

std::vector<uint8_t> numbered(int count) {
  std::vector<uint8_t> rgb(static_cast<size_t>(count) * kFrameBytes);
  for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<uint8_t>(i / kFrameBytes);
  return rgb;
}

TEST_CASE("frames arrive in order on another thread and the queue stays bounded") {
  Observed observed;
  AsyncSink sink(std::make_unique<SlowSink>(observed), 3 * kFrameBytes);
  sink.begin(kFormat);
  std::vector<uint8_t> rgb = numbered(40);
  sink.write(rgb.data(), 40);
  std::fill(rgb.begin(), rgb.end(), uint8_t{99});  // the sink has copies
  sink.finish();
  REQUIRE(observed.first_bytes.size() == 40);
  for (int i = 0; i < 40; ++i) CHECK(observed.first_bytes[static_cast<size_t>(i)] == i);
  CHECK(observed.finished == 1);
  CHECK(observed.thread != std::this_thread::get_id());
  CHECK(observed.sigpipe_blocked);
  CHECK(sink.peak_queue_bytes() <= 3 * kFrameBytes);
  CHECK(sink.peak_queue_bytes() > kFrameBytes);
}

TEST_CASE("a frame larger than the queue still passes") {
  Observed observed;
  AsyncSink sink(std::make_unique<SlowSink>(observed), 10);
  sink.begin(kFormat);
  sink.write(numbered(3).data(), 3);
  sink.finish();
  CHECK(observed.first_bytes.size() == 3);
}

TEST_CASE("an error surfaces at a later write or at finish, and once more if asked again") {
  Observed observed;
  AsyncSink sink(std::make_unique<SlowSink>(observed, 1), 2 * kFrameBytes);
  sink.begin(kFormat);
  const std::vector<uint8_t> rgb = numbered(40);
  CHECK_THROWS_WITH(sink.write(rgb.data(), 40), "disk full");
  CHECK_THROWS_WITH(sink.finish(), "disk full");
  sink.abort();
  CHECK(observed.finished == 0);
  CHECK(observed.aborted == 1);
}

TEST_CASE("an error of the last frame surfaces at finish; an error of begin at begin") {
  Observed observed;
  AsyncSink sink(std::make_unique<SlowSink>(observed, 0));
  sink.begin(kFormat);
  sink.write(numbered(1).data(), 1);
  CHECK_THROWS_WITH(sink.finish(), "disk full");
  AsyncSink other(std::make_unique<SlowSink>(observed));
  VideoFormat bad = kFormat;
  bad.width = 13;
  CHECK_THROWS_WITH(other.begin(bad), "cannot begin");
}

TEST_CASE("abort drops what waits and joins; the destructor does the same") {
  Observed observed;
  {
    AsyncSink sink(std::make_unique<SlowSink>(observed));
    sink.begin(kFormat);
    sink.write(numbered(40).data(), 40);
    sink.abort();
    CHECK(observed.first_bytes.size() < 40);
    CHECK(observed.aborted >= 1);
  }
  {
    AsyncSink sink(std::make_unique<SlowSink>(observed));
    sink.begin(kFormat);
    sink.write(numbered(40).data(), 40);
  }
  CHECK(observed.finished == 0);
}

TEST_CASE("abort is safe before begin and after finish") {
  Observed observed;
  AsyncSink sink(std::make_unique<SlowSink>(observed));
  sink.abort();
  sink.begin(kFormat);
  sink.write(numbered(1).data(), 1);
  sink.finish();
  sink.abort();
  CHECK(observed.finished == 1);
}

}  // namespace
}  // namespace t2v::media
