// A sink on a thread of its own behind a bounded queue: the producer decodes while this one
// encodes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "media/media_sink.h"

namespace t2v::media {

// Errors of the inner sink surface at the next call. All signals stay blocked on the thread, so
// that a full disk or a closed pipe is an error there, never SIGXFSZ or SIGPIPE for the process.
class AsyncSink : public FrameSink {
 public:
  // Frames that wait or are at work take at most max_queue_bytes, or one frame if that is larger.
  explicit AsyncSink(std::unique_ptr<MediaSink> inner, int64_t max_queue_bytes = kQueueBytes);
  ~AsyncSink() override;

  void begin(const VideoFormat& format) override;
  void write(const uint8_t* rgb, int64_t num_frames) override;
  void finish() override;
  void abort() noexcept override;

  // Most bytes that ever waited; for tests.
  [[nodiscard]] int64_t peak_queue_bytes() const;

  static constexpr int64_t kQueueBytes = 64 << 20;  // 24 frames of 1280x720

 private:
  struct Job {
    std::function<void()> work;
    int64_t bytes = 0;
  };
  void run();
  void push(Job job);
  void wait_until_idle();
  void stop() noexcept;

  std::unique_ptr<MediaSink> inner_;
  const int64_t max_queue_bytes_;
  int64_t frame_bytes_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  int64_t queued_bytes_ = 0;  // waiting or at work
  int64_t peak_bytes_ = 0;
  bool busy_ = false;
  bool stopping_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace t2v::media
