// The last stages of a batch's videos: final latents -> frames -> file. On a thread of its own,
// beside the denoising of the next video, or at once.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "pipeline/video_work.h"

namespace t2v::pipeline {

class FinishLine {
 public:
  enum class Where { kHere, kBeside };
  // failed: takes a video whose latents are final but whose file could not be made; called on the
  // thread that works. calls: of the host and the listener, one at a time.
  using Failed = std::function<void(VideoWork&, const Error&)>;
  // retries_numbers: a video whose frames are not finite is made once more, so that its latents
  // need not be saved.
  FinishLine(EngineState& engine, const BatchTask& task, std::mutex& calls, Failed failed,
             bool retries_numbers);
  FinishLine(const FinishLine&) = delete;
  FinishLine& operator=(const FinishLine&) = delete;
  ~FinishLine();

  // video->state holds the final latents. kBeside: waits while another one waits, so that at most
  // two videos' latents are held. Throws what is no Error, from any earlier video.
  void push(std::unique_ptr<VideoWork> video, Where where);
  // Waits for all. Throws as push().
  void drain();

 private:
  void work() noexcept;
  void finish(VideoWork& video);
  void make_file(VideoWork& video);
  void decode_or_rescue(VideoWork& video, FrameSink* sink);
  void rethrow();

  EngineState& engine_;
  const BatchTask& task_;
  std::mutex& calls_;
  Failed failed_;
  bool retries_numbers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<VideoWork>> queue_;
  bool busy_ = false;
  bool ended_ = false;
  std::exception_ptr bug_;  // what was no Error
  std::thread thread_;      // started by the first push(kBeside)
};

}  // namespace t2v::pipeline
