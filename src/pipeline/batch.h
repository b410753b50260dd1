// Many videos from one open model: waves of videos that suit each other, text encoding and decoding
// beside denoising, and what becomes of those that fail.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "pipeline/engine_state.h"
#include "pipeline/finish_line.h"
#include "pipeline/text_line.h"
#include "pipeline/video_work.h"

namespace t2v::pipeline {

// What becomes of a video whose numbers are not finite: it is made once more in fp32 with composed
// attention, by an engine of its own; or it has failed.
enum class BadNumbers { kRetryInFp32, kFail };

// Used once.
class Batch {
 public:
  Batch(EngineState& engine, const BatchTask& task, BadNumbers bad_numbers);
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch();

  // Throws Error{kCancelled}, and what is no Error.
  void run();

 private:
  // Videos that take their steps together.
  struct Group {
    std::vector<std::unique_ptr<VideoWork>> videos;
    std::unique_ptr<Run> shared;  // of several
    std::unique_ptr<Denoiser> denoiser;
    [[nodiscard]] Run& run() const { return shared ? *shared : videos[0]->run; }
  };
  // Groups that go through the experts one after the other, expert by expert.
  using Wave = std::vector<Group>;

  [[nodiscard]] Wave next_wave();
  [[nodiscard]] Group next_group();
  [[nodiscard]] bool suits(const VideoWork& video, size_t item) const;
  [[nodiscard]] std::unique_ptr<VideoWork> begin_work(size_t item);
  [[nodiscard]] bool is_decoded_beside(const Recipe& recipe) const;
  void run_wave(Wave wave);
  void encode_texts(const Wave& wave, const MemoryPlan& plan, bool beside);
  void encode_images(const Wave& wave);
  void denoise(Wave& wave, const DenoiseTools& tools);
  void hand_to_finish(Group& group);
  void run_causal(VideoWork& video, const MemoryPlan& plan);
  void interrupt(Wave& wave, const Error& error);
  void fail_wave(Wave& wave, const Error& error);
  void fail(VideoWork& video, const Error& error);
  void make_in_fp32(size_t item, const Error& first);

  EngineState& engine_;
  const BatchTask& task_;
  BadNumbers bad_numbers_;
  std::mutex calls_;  // of the host and of the progress listener
  std::mutex mutex_;  // of what follows
  std::deque<size_t> waiting_;
  std::map<size_t, Error> not_finite_;  // to be made in fp32
  std::vector<bool> alone_;             // failed together with others, or failed before
  bool stopped_ = false;
  // Of the calling thread.
  TextLine text_line_;
  ImageConditions images_;
  double last_video_ms_ = 0;  // of denoising
  std::unique_ptr<EngineState> fp32_;
  FinishLine finish_line_;
};

}  // namespace t2v::pipeline
