// Decodes and encodes a video while its later latents are still being made: a thread of its own
// takes chunks from a short queue.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "pipeline/clip_guard.h"
#include "pipeline/model.h"
#include "pipeline/run.h"
#include "t2v/frame_sink.h"

namespace t2v::pipeline {

// Memory does not depend on the length of the video, unless frames are kept for a dump. All members
// but the thread's own are for one thread. On any error, and when finish() was not called, the sink
// is aborted.
class StreamDecoder {
 public:
  enum class Frames { kWritten, kAlsoKept };
  // sink may be null: frames are only kept. height, width: of the latents. model and sink must
  // outlive it. check: called now and then by whoever waits for the thread; what it throws ends the
  // wait.
  StreamDecoder(const Model& model, const VideoFormat& format, FrameSink* sink,
                const Compute& compute, Frames frames, std::function<void()> check);
  StreamDecoder(const StreamDecoder&) = delete;
  StreamDecoder& operator=(const StreamDecoder&) = delete;
  ~StreamDecoder();

  // latents fp32 [C, n, h, w] in host memory, model space: the next n latent frames. Waits while
  // two chunks are in the queue. Throws what the thread has thrown: Error{kOutput, kNumeric,
  // kModel}.
  void push(at::Tensor latents);
  // No more chunks: waits for the frames, finishes the sink. Throws as push does.
  void finish();

  [[nodiscard]] int64_t frames_done() const noexcept { return frames_done_.load(); }
  // After finish().
  [[nodiscard]] double decode_ms() const noexcept { return decode_ms_; }
  [[nodiscard]] double encode_ms() const noexcept { return encode_ms_; }
  [[nodiscard]] int64_t bytes_read() const noexcept { return bytes_read_; }
  [[nodiscard]] const std::vector<at::Tensor>& kept_frames() const noexcept { return frames_; }
  [[nodiscard]] const std::vector<at::Tensor>& kept_rgb8() const noexcept { return rgb8_; }

 private:
  void work() noexcept;
  void decode_all();
  void write(const at::Tensor& rgb8);
  [[nodiscard]] bool pop(at::Tensor& latents);
  void rethrow_failure();
  void wait_until(std::unique_lock<std::mutex>& lock, const std::function<bool()>& ready);

  const Model& model_;
  VideoFormat format_;
  FrameSink* sink_;
  Compute compute_;
  Frames keep_;
  std::function<void()> check_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<at::Tensor> queue_;
  bool ended_ = false;                 // no more chunks come
  bool is_done_ = false;               // the thread is through, or has failed
  std::atomic<bool> stopping_{false};  // nothing is wanted any more
  std::exception_ptr failure_;

  ClipGuard guard_;  // of the thread
  std::atomic<int64_t> frames_done_{0};
  double decode_ms_ = 0, encode_ms_ = 0;
  int64_t bytes_read_ = 0;
  std::vector<at::Tensor> frames_, rgb8_;  // kAlsoKept: fp32 [3, m, H, W], uint8 [m, H, W, 3]
  std::thread thread_;                     // last: starts when all else is there
};

}  // namespace t2v::pipeline
