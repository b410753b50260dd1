#include "pipeline/video_work.h"

#include <filesystem>

#include "core/check.h"
#include "pipeline/causal_state.h"
#include "pipeline/checkpoint.h"
#include "pipeline/initial_noise.h"
#include "pipeline/presets.h"

namespace t2v::pipeline {

void ItemListener::on_progress(const ProgressEvent& event) {
  ProgressEvent tagged = event;
  tagged.item = item_;
  tagged.together = together_;
  tagged.background = background_;
  const std::lock_guard lock(calls_);
  to_.on_progress(tagged);
}

VideoWork::VideoWork(EngineState& engine, const BatchTask& task, std::mutex& calls, size_t index)
    : item(index),
      span("video", "video", static_cast<int64_t>(index), core::SpanKind::kAcross),
      job(task.items[index]),
      listener(task.progress, calls, index),
      run(engine.compute(), listener, task.cancel, !job.outputs.dump_path.empty()),
      recipe_json(engine.recipe_json(job.recipe)) {
  if (job.outputs.timeout_s > 0) run.set_timeout(job.outputs.timeout_s);
  if (job.outputs.preview != nullptr)
    preview.emplace(*job.outputs.preview, engine.preview_factors(run));
  run.report().warnings = recipe_warnings(job.recipe, engine.model(), engine.options());
  const bool is_causal = !job.recipe.causal.empty();
  if (job.outputs.resume) {
    if (auto found = read_checkpoint(job.outputs.checkpoint_path, recipe_json)) {
      if (is_causal)
        require_causal_state(*found, find_profile(job.recipe.causal),
                             engine.geometry_of(job.recipe), job.outputs.checkpoint_path);
      state = std::move(*found);
      run.report().resumed_steps = state.steps_done;
      return;
    }
    std::error_code ignored;
    if (std::filesystem::exists(job.outputs.checkpoint_path, ignored))
      run.report().warnings.push_back(
          core::str("the state in '", job.outputs.checkpoint_path,
                    "' is of other settings, another build or device; the video begins anew"));
  }
  // The noise of a causal video is drawn while it is made.
  if (!is_causal) state.latents = make_initial_noise(job.recipe, engine.geometry_of(job.recipe));
}

void VideoWork::remember(const StepState& now) {
  state = now;
  const double seconds = run.elapsed_ms() / 1000;
  const GenerateOutputs& outputs = job.outputs;
  if (outputs.checkpoint_every_s <= 0 || outputs.checkpoint_path.empty() ||
      seconds < state_saved_s + outputs.checkpoint_every_s)
    return;
  write_checkpoint(outputs.checkpoint_path, state, recipe_json);
  state_saved_s = seconds;
}

std::string VideoWork::save_state() const noexcept {
  const std::string& path = job.outputs.checkpoint_path;
  if (path.empty() || state.steps_done == 0) return "";
  try {
    write_checkpoint(path, state, recipe_json);
    return path;
  } catch (const Error&) {
    return "";
  }
}

void VideoWork::forget_state() const noexcept {
  std::error_code ignored;
  if (!job.outputs.checkpoint_path.empty())
    std::filesystem::remove(job.outputs.checkpoint_path, ignored);
}

}  // namespace t2v::pipeline
