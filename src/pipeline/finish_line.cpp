#include "pipeline/finish_line.h"

#include <c10/core/InferenceMode.h>

#include "core/check.h"
#include "pipeline/decode_stage.h"
#include "pipeline/initial_noise.h"
#include "pipeline/own_stream.h"
#include "pipeline/sink_guard.h"

namespace t2v::pipeline {

FinishLine::FinishLine(EngineState& engine, const BatchTask& task, std::mutex& calls, Failed failed,
                       bool retries_numbers)
    : engine_(engine),
      task_(task),
      calls_(calls),
      failed_(std::move(failed)),
      retries_numbers_(retries_numbers) {}

FinishLine::~FinishLine() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void FinishLine::push(std::unique_ptr<VideoWork> video, Where where) {
  rethrow();
  if (where == Where::kHere) {
    drain();
    finish(*video);
    engine_.drop_decoder();
    return;
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.empty(); });
  video->listener.go_to_background();
  queue_.push_back(std::move(video));
  changed_.notify_all();
}

void FinishLine::drain() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return queue_.empty() && !busy_; });
  }
  rethrow();
}

void FinishLine::rethrow() {
  const std::lock_guard lock(mutex_);
  if (bug_) std::rethrow_exception(std::exchange(bug_, nullptr));
}

void FinishLine::work() noexcept {
  const c10::InferenceMode no_gradients;
  core::name_thread("finish line");
  const OwnStream own_stream(engine_.compute().device);
  for (;;) {
    std::unique_ptr<VideoWork> video;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return ended_ || !queue_.empty(); });
      if (queue_.empty()) return;
      video = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
    }
    changed_.notify_all();
    std::exception_ptr bug;
    try {
      finish(*video);
    } catch (...) {
      bug = std::current_exception();
    }
    video.reset();
    {
      const std::lock_guard lock(mutex_);
      busy_ = false;
      if (bug) bug_ = bug;
    }
    changed_.notify_all();
  }
}

void FinishLine::finish(VideoWork& video) {
  try {
    engine_.translated([&] { make_file(video); });
  } catch (const Error& error) {
    engine_.drop_decoder();
    failed_(video, error);
  }
}

void FinishLine::make_file(VideoWork& video) {
  const GenerateOutputs& outputs = video.job.outputs;
  if (!outputs.save_latents_path.empty())
    write_latents(outputs.save_latents_path, video.state.latents, video.recipe_json);
  FrameSink* sink = nullptr;
  {
    const std::lock_guard lock(calls_);
    sink = task_.host.open_sink(video.item);
  }
  if (sink != nullptr || video.run.dump().wanted()) decode_or_rescue(video, sink);
  if (video.run.dump().wanted()) video.run.dump().write(outputs.dump_path);
  engine_.complete(video.run, video.job.recipe);
  video.forget_state();
  const std::lock_guard lock(calls_);
  task_.host.on_done(video.item, video.run.report());
}

// Nothing computed is lost when the last stage fails: the latents are saved for `t2v decode`.
void FinishLine::decode_or_rescue(VideoWork& video, FrameSink* sink) {
  const std::string& rescue = video.job.outputs.rescue_latents_path;
  try {
    engine_.translated([&] {
      const VideoFormat format = engine_.format_of(video.job.recipe, video.job.outputs);
      SinkGuard guard(sink);
      run_decode_stage(engine_.decoder(video.run), video.state.latents, video.tiling, format, sink,
                       video.run);
      guard.release();
    });
  } catch (const Error& error) {
    if (rescue.empty() || error.kind() == ErrorKind::kCancelled ||
        (retries_numbers_ && error.kind() == ErrorKind::kNumeric))
      throw;
    std::string saved;
    try {
      write_latents(rescue, video.state.latents, video.recipe_json);
      saved = core::str("; the finished latents are in '", rescue, "'");
    } catch (const Error& second) {
      saved = core::str("; the latents could not be saved either: ", second.what());
    }
    throw Error(error.kind(), error.what() + saved);
  }
}

}  // namespace t2v::pipeline
