// A video of a batch from its first step to its file: bookkeeping and state.
#pragma once

#include <functional>
#include <mutex>
#include <string>

#include "pipeline/denoise_stage.h"
#include "pipeline/engine_state.h"
#include "pipeline/run.h"
#include "t2v/batch.h"

namespace t2v::pipeline {

// What a batch is about, all of it the caller's.
struct BatchTask {
  const std::vector<BatchItem>& items;
  BatchHost& host;
  ProgressListener& progress;
  const CancelToken& cancel;
  // DenoiseJob::on_residuals, of every item; empty: not wanted.
  std::function<void(int64_t step, const sched::Branches& residuals)> on_residuals = {};
};

// Tells a batch's listener which video an event is of; one event or call of the host at a time.
class ItemListener final : public ProgressListener {
 public:
  ItemListener(ProgressListener& to, std::mutex& calls, size_t item)
      : to_(to), calls_(calls), item_(item) {}
  void on_progress(const ProgressEvent& event) override;

  void set_together(int64_t videos) noexcept { together_ = videos; }
  // From here on the video is worked on beside another one.
  void go_to_background() noexcept { background_ = true; }

 private:
  ProgressListener& to_;
  std::mutex& calls_;
  size_t item_;
  int64_t together_ = 1;
  bool background_ = false;
};

struct VideoWork {
  VideoWork(EngineState& engine, const BatchTask& task, std::mutex& calls, size_t index);

  size_t item;
  core::TraceSpan span;
  const BatchItem& job;
  ItemListener listener;
  Run run;
  std::string recipe_json;
  StepState state;           // behind the last whole step, of a causal video the last whole chunk
  double state_saved_s = 0;  // of the run's time: when it was last written
  models::vae::Tiling tiling;
  std::optional<StepPreview> preview;
  ImageCondition image;  // of image-to-video

  // Behind a step or a chunk: remembers it, and writes it when its time has come. Throws
  // Error{kOutput}.
  void remember(const StepState& now);
  // For an interrupted run: what is remembered goes to the checkpoint file. Says where, for the
  // message; "" when nothing was asked for or there is nothing worth keeping.
  std::string save_state() const noexcept;
  // The video is done.
  void forget_state() const noexcept;
};

}  // namespace t2v::pipeline
