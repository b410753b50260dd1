#include "pipeline/batch.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "core/check.h"
#include "pipeline/batch_limits.h"
#include "pipeline/batch_reports.h"
#include "pipeline/causal_run.h"
#include "pipeline/image_request.h"
#include "pipeline/recipe.h"
#include "pipeline/retry_host.h"
#include "pipeline/step_cache_plan.h"

namespace t2v::pipeline {
Batch::Batch(EngineState& engine, const BatchTask& task, BadNumbers bad_numbers)
    : engine_(engine),
      task_(task),
      bad_numbers_(bad_numbers),
      alone_(task.items.size(), false),
      text_line_(engine, task, calls_),
      images_(engine.model()),
      finish_line_(
          engine, task, calls_,
          [this](VideoWork& video, const Error& error) { fail(video, error); },
          bad_numbers == BadNumbers::kRetryInFp32) {
  for (size_t i = 0; i < task.items.size(); ++i) waiting_.push_back(i);
}

Batch::~Batch() = default;

void Batch::run() {
  for (;;) {
    Wave wave = next_wave();
    if (!wave.empty()) {
      run_wave(std::move(wave));
      continue;
    }
    finish_line_.drain();  // what fails there may be wanted once more
    std::optional<std::pair<size_t, Error>> next;
    {
      const std::lock_guard lock(mutex_);
      if (!not_finite_.empty()) {
        next.emplace(*not_finite_.begin());
        not_finite_.erase(not_finite_.begin());
      } else if (waiting_.empty() || stopped_) {
        return;
      }
    }
    if (next) make_in_fp32(next->first, next->second);
  }
}

Batch::Wave Batch::next_wave() {
  Wave wave;
  Group first = next_group();
  if (first.videos.empty()) return wave;
  const Recipe& recipe = first.videos[0]->job.recipe;
  // One that has failed with others takes no wave with it again.
  const int64_t groups =
      alone_[first.videos[0]->item] ? 1 : wave_limit(engine_, recipe, last_video_ms_);
  wave.push_back(std::move(first));
  while (static_cast<int64_t>(wave.size()) < groups) {
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty() || alone_[waiting_.front()] ||
          !task_.items[waiting_.front()].recipe.causal.empty())
        break;
    }
    Group group = next_group();
    if (group.videos.empty()) break;
    wave.push_back(std::move(group));
  }
  return wave;
}

Batch::Group Batch::next_group() {
  Group group;
  int64_t limit = 1;
  for (;;) {
    size_t item = 0;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty() || stopped_) return group;
      item = waiting_.front();
      if (!group.videos.empty() && !suits(*group.videos[0], item)) return group;
      waiting_.pop_front();
    }
    auto work = begin_work(item);
    if (!work) continue;
    if (group.videos.empty())
      limit = alone_[item] ? 1 : group_limit(engine_, work->job.recipe, last_video_ms_);
    const bool fits_in =
        group.videos.empty() || work->state.steps_done == group.videos[0]->state.steps_done;
    if (!fits_in) {  // it was interrupted at another step: on its own, next
      const std::lock_guard lock(mutex_);
      alone_[item] = true;
      waiting_.push_front(item);
      return group;
    }
    group.videos.push_back(std::move(work));
    if (static_cast<int64_t>(group.videos.size()) >= limit) return group;
  }
}

bool Batch::suits(const VideoWork& video, size_t item) const {
  return !alone_[item] && !alone_[video.item] && suit_each_other(video.job, task_.items[item]);
}

bool Batch::is_decoded_beside(const Recipe& recipe) const {
  return task_.items.size() > 1 && decodes_beside(engine_, recipe);
}

// Null: it has failed already.
std::unique_ptr<VideoWork> Batch::begin_work(size_t item) {
  try {
    std::unique_ptr<VideoWork> work;
    engine_.translated([&] { work = std::make_unique<VideoWork>(engine_, task_, calls_, item); });
    return work;
  } catch (const Error& error) {
    const std::lock_guard lock(calls_);
    if (task_.host.on_failed(item, error) == AfterFailure::kStop) stopped_ = true;
    return nullptr;
  }
}

void Batch::run_wave(Wave wave) {
  try {
    engine_.translated([&] {
      // The most demanding group decides where weights stay.
      const auto* largest = &wave[0];
      for (const Group& group : wave) {
        const auto tokens = [&](const Group& g) {
          return engine_.geometry_of(g.videos[0]->job.recipe).num_tokens *
                 static_cast<int64_t>(g.videos.size());
        };
        if (tokens(group) > tokens(*largest)) largest = &group;
      }
      const Recipe& recipe = largest->videos[0]->job.recipe;
      const Together together{.videos = static_cast<int64_t>(largest->videos.size()),
                              .decodes_along = is_decoded_beside(recipe)};
      MemoryPlan plan = engine_.memory_plan(recipe, together);
      std::optional<MemoryPlan> with_texts;
      if (text_line_.works_ahead() || text_line_.wants_more())
        with_texts = plan_with_texts(engine_, recipe, together, plan);
      const bool encodes_along = with_texts.has_value();
      if (encodes_along) plan = std::move(*with_texts);
      engine_.require_fit(plan, recipe);
      if (!together.decodes_along) finish_line_.drain();
      if (!encodes_along) text_line_.wait(wave[0].run());
      engine_.begin(plan);
      if (!recipe.causal.empty()) return run_causal(*wave[0].videos[0], plan);
      encode_texts(wave, plan, encodes_along);
      encode_images(wave);
      trim_host_memory();
      denoise(wave, engine_.tools(plan));
      engine_.end_denoising(plan);
      for (Group& group : wave)
        if (group.denoiser) hand_to_finish(group);
    });
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kCancelled) interrupt(wave, error);
    fail_wave(wave, error);
  }
}

// The wave's own now; later ones beside its steps where there is room, else in the same pass.
void Batch::encode_texts(const Wave& wave, const MemoryPlan& plan, bool beside) {
  std::vector<size_t> items;
  for (const Group& group : wave)
    for (const auto& video : group.videos) items.push_back(video->item);
  Run& run = wave[0].run();
  const bool also_later = !beside && !run.dump().wanted();
  text_line_.make(items, also_later ? TextLine::Later::kToo : TextLine::Later::kNot,
                  plan.text_stream, run);
  if (beside && text_line_.wants_more()) text_line_.make_ahead(plan.text_stream);
}

void Batch::encode_images(const Wave& wave) {
  for (const Group& group : wave) {
    for (const auto& video : group.videos) {
      const Recipe& recipe = video->job.recipe;
      if (!recipe.image) continue;
      video->image = images_.get(recipe, video->run);
      if (auto warning = image_warning(recipe); !warning.empty())
        video->run.report().warnings.push_back(std::move(warning));
    }
  }
  images_.drop_encoder();
}

void Batch::denoise(Wave& wave, const DenoiseTools& tools) {
  std::vector<Group*> left;
  for (Group& group : wave) {
    std::vector<DenoiseJob> jobs;
    for (const auto& video : group.videos) {
      const TextEmbeddings& text = text_line_.at(video->item);
      if (const auto ahead = text_line_.take_report(video->item))
        add_text_report(*ahead, video->run.report());
      warn_of_cut(text, engine_.model().text_len, video->run);
      jobs.push_back({.recipe = video->job.recipe,
                      .text = text,
                      .start = video->state,
                      .preview = video->preview ? &*video->preview : nullptr,
                      .image = video->image,
                      .after_step = [v = video.get()](const StepState& s) { v->remember(s); },
                      .cache = step_cache_rules(video->job.recipe, engine_.model()),
                      .on_residuals = task_.on_residuals});
      if (video->job.outputs.timeout_s > 0) video->run.set_timeout(video->job.outputs.timeout_s);
      const std::lock_guard lock(calls_);
      task_.host.on_begin(video->item);
    }
    if (group.videos.size() > 1) {
      group.videos[0]->listener.set_together(static_cast<int64_t>(group.videos.size()));
      group.shared = std::make_unique<Run>(engine_.compute(), group.videos[0]->listener,
                                           task_.cancel, /*dump=*/false);
    }
    group.denoiser = std::make_unique<Denoiser>(std::move(jobs), tools, group.run());
    left.push_back(&group);
  }
  const auto begin = std::chrono::steady_clock::now();
  size_t videos = 0;
  for (const Group& group : wave) videos += group.videos.size();
  while (
      std::erase_if(left, [](const Group* g) { return !g->denoiser || g->denoiser->finished(); }),
      !left.empty()) {
    // All of one expert before the other comes.
    const auto expert = left[0]->denoiser->next_expert();
    const auto last = std::find_if(left.rbegin(), left.rend(), [&](const Group* g) {
      return g->denoiser->next_expert() == expert;
    });
    const Group* last_one = *last;
    for (Group* group : left) {
      if (!group->denoiser || group->denoiser->next_expert() != expert) continue;
      const AfterPhase after = group == last_one ? AfterPhase::kLeaves : AfterPhase::kStays;
      group->run().in_stage(Stage::kDenoise, [&] { group->denoiser->run_phase(after); });
      if (group->denoiser->finished() && is_decoded_beside(group->videos[0]->job.recipe))
        hand_to_finish(*group);
    }
  }
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - begin;
  last_video_ms_ = spent.count() / static_cast<double>(videos);
}

void Batch::hand_to_finish(Group& group) {
  const auto results = group.denoiser->results();
  if (group.shared) group.shared->end_profile();
  group.denoiser.reset();
  for (size_t i = 0; i < results.size(); ++i) {
    auto video = std::move(group.videos[i]);
    if (group.shared)
      share_report(group.shared->report(), static_cast<int64_t>(results.size()),
                   video->run.report());
    share_step_cache(results[i].step_cache, video->run.report());
    text_line_.forget(video->item);
    if (results[i].error) {
      try {
        std::rethrow_exception(results[i].error);
      } catch (const Error& error) {
        fail(*video, error);
      }
      continue;
    }
    const Recipe& recipe = video->job.recipe;
    const bool beside = is_decoded_beside(recipe);
    // A stream of its own decodes: what it takes is finished, and in host memory.
    video->state.latents = beside ? results[i].latents.cpu() : results[i].latents;
    video->tiling = engine_.memory_plan(recipe, {.decodes_along = beside}).vae_tiling;
    video->run.dump().add("latents_final", results[i].latents.unsqueeze(0));
    finish_line_.push(std::move(video),
                      beside ? FinishLine::Where::kBeside : FinishLine::Where::kHere);
  }
  group.videos.clear();
}

void Batch::run_causal(VideoWork& video, const MemoryPlan& plan) {
  const Recipe& recipe = video.job.recipe;
  finish_line_.drain();
  GenerateOutputs outputs = video.job.outputs;
  {
    const std::lock_guard lock(calls_);
    task_.host.on_begin(video.item);
    outputs.sink = task_.host.open_sink(video.item);
  }
  const CausalText text = encode_causal_text(recipe, engine_.model(), engine_.conditions(),
                                             plan.text_stream, video.run);
  trim_host_memory();
  const DenoiseTools tools = engine_.tools(plan);
  const VideoFormat format = engine_.format_of(recipe, outputs);
  run_causal_video({.recipe = recipe,
                    .model = engine_.model(),
                    .text = text,
                    .format = format,
                    .outputs = outputs,
                    .recipe_json = video.recipe_json,
                    .start = video.state,
                    .preview = video.preview ? &*video.preview : nullptr,
                    .remember = [&video](const StepState& s) { video.remember(s); },
                    .translated = [this](const auto& work) { engine_.translated(work); }},
                   tools, video.run);
  engine_.end_denoising(plan);
  if (video.run.dump().wanted()) video.run.dump().write(outputs.dump_path);
  engine_.complete(video.run, recipe);
  video.forget_state();
  const std::lock_guard lock(calls_);
  task_.host.on_done(video.item, video.run.report());
}

// The user's: everything that was begun is told, and saved where that was asked for.
void Batch::interrupt(Wave& wave, const Error& error) {
  stopped_ = true;
  text_line_.stop();
  for (Group& group : wave)
    for (auto& video : group.videos)
      if (video) fail(*video, error);
  finish_line_.drain();
  engine_.give_up_memory();
  throw error;
}

// Several that failed together are made again one by one: the fault may be that of one of them, or
// of their number.
void Batch::fail_wave(Wave& wave, const Error& error) {
  text_line_.stop();
  finish_line_.drain();
  engine_.give_up_memory();
  std::vector<VideoWork*> videos;
  for (Group& group : wave)
    for (auto& video : group.videos)
      if (video) videos.push_back(video.get());
  if (videos.size() == 1) return fail(*videos[0], error);
  const std::lock_guard lock(mutex_);
  for (auto video = videos.rbegin(); video != videos.rend(); ++video) {
    alone_[(*video)->item] = true;
    waiting_.push_front((*video)->item);
  }
}

void Batch::fail(VideoWork& video, const Error& error) {
  if (error.kind() == ErrorKind::kNumeric && bad_numbers_ == BadNumbers::kRetryInFp32) {
    const std::lock_guard lock(mutex_);
    not_finite_.emplace(video.item, error);
    return;
  }
  std::string message = error.what();
  if (error.kind() == ErrorKind::kCancelled || error.kind() == ErrorKind::kTimeout) {
    const std::string saved = video.save_state();
    if (!saved.empty())
      message += core::str("; the state after step ", video.state.steps_done, " is in '", saved,
                           "', --resume goes on from there");
  }
  AfterFailure after = AfterFailure::kGoOn;
  {
    const std::lock_guard lock(calls_);
    after = task_.host.on_failed(video.item, Error(error.kind(), message));
  }
  const std::lock_guard lock(mutex_);
  if (after == AfterFailure::kStop) stopped_ = true;
  if (after != AfterFailure::kAgain) return text_line_.forget(video.item);
  alone_[video.item] = true;
  waiting_.push_front(video.item);
}

void Batch::make_in_fp32(size_t item, const Error& first) {
  text_line_.stop();
  engine_.give_up_memory();
  std::vector<BatchItem> items = {task_.items[item]};
  items[0].outputs.resume = false;
  RetryHost host(task_.host, item, first);
  const BatchTask task{items, host, task_.progress, task_.cancel};
  try {
    if (!fp32_) {
      EngineOptions options = engine_.options();
      options.dtype = Dtype::kFp32;
      options.attention = "reference";
      options.quant = Quant::kNone;
      engine_.translated([&] { fp32_ = std::make_unique<EngineState>(options); });
    }
    Batch(*fp32_, task, BadNumbers::kFail).run();
    fp32_->give_up_memory();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kCancelled) throw;
    const std::lock_guard lock(calls_);  // the engine in fp32 did not open
    host.on_failed(0, error);
  }
  const std::lock_guard lock(mutex_);
  if (host.after == AfterFailure::kStop) stopped_ = true;
  if (host.after == AfterFailure::kAgain) waiting_.push_front(item);
  alone_[item] = true;
}

}  // namespace t2v::pipeline
