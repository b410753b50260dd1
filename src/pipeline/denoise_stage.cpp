#include "pipeline/denoise_stage.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include <map>
#include <optional>
#include <utility>

#include "core/check.h"
#include "pipeline/block_watch.h"
#include "pipeline/denoise_conditions.h"
#include "pipeline/weight_use.h"
#include "sched/guidance.h"

namespace t2v::pipeline {
namespace {

using models::wan::BlockPool;
using models::wan::Expert;
using models::wan::Lane;
using models::wan::TimeModulation;
using models::wan::Transformer;

constexpr double kHeldTimestep = 0;  // of a picture that is given: there is no noise

struct Video {
  Video(DenoiseJob from, const sched::NoiseSchedule& schedule, at::Device device)
      : job(std::move(from)),
        solver(job.recipe.solver, schedule, job.recipe.seed),
        cache(job.cache) {
    latents = job.start.latents.to(device);
    job.image = job.image.to(device);
    solver.restore(job.start.history, device);
    cache.restore(job.start.cache, job.start.steps_done, device);
  }

  DenoiseJob job;
  at::Tensor latents;
  sched::SolverState solver;
  sched::StepCache cache;
  Conditions conditions;           // of the expert at work
  std::optional<Conditions> next;  // of the expert that takes over
  std::exception_ptr error;        // set: takes no further part
};

// The expert at work, from the moment that it takes over.
struct ExpertState {
  Transformer* transformer = nullptr;
  Expert expert = Expert::kHighNoise;
  std::string name;  // "" for single-expert models
  int64_t num_passes = 0;
  std::map<double, TimeModulation> times;  // by timestep
};

}  // namespace

class Denoiser::Loop {
 public:
  Loop(std::vector<DenoiseJob> jobs, const DenoiseTools& tools, Run& run)
      : tools_(tools),
        run_(run),
        weights_(run),
        recipe_(jobs.at(0).recipe),
        book_(tools.cache, run.report().conditions, recipe_.text_len),
        schedule_(schedule_of(recipe_)),
        step_(jobs[0].start.steps_done) {
    for (DenoiseJob& job : jobs) {
      T2V_ASSERT(step_alike(job.recipe, recipe_) && job.start.steps_done == step_);
      videos_.push_back(std::make_unique<Video>(std::move(job), schedule_, run.compute().device));
    }
    T2V_ASSERT(videos_.size() == 1 || !run.dump().wanted());
    dump_schedule();
  }

  [[nodiscard]] bool finished() const { return step_ == num_steps() || alive().empty(); }

  [[nodiscard]] Expert next_expert() const { return expert_of(step_); }

  void run_phase(AfterPhase after) {
    use_expert();
    const Expert expert = expert_of(step_);
    int64_t end = step_;
    while (is_of(end, expert)) ++end;
    while (!finished() && step_ < end) {
      const Turns turns = take_turns();
      const bool ends = !turns.computed.empty() && !may_compute(step_ + 1, end);
      const bool leaves = ends && after == AfterPhase::kLeaves;
      if (leaves && end < num_steps()) hand_over(end);
      const bool is_last_pass =
          leaves &&
          (end < num_steps() ? !tools_.experts.keeps_both() : tools_.after == AfterPrompt::kGiveUp);
      make_step(turns, is_last_pass ? BlockPool::Again::kNever : BlockPool::Again::kLater);
    }
    leave_expert();
    if (finished()) run_.tell(Stage::kDenoise, num_steps(), num_steps());
  }

  [[nodiscard]] std::vector<DenoiseResult> results() const {
    std::vector<DenoiseResult> results;
    for (const auto& video : videos_)
      results.push_back({video->error ? at::Tensor() : video->job.image.finished(video->latents),
                         video->error,
                         {video->cache.mask(), video->cache.worst_error()}});
    return results;
  }

 private:
  [[nodiscard]] int64_t num_steps() const { return schedule_.num_steps(); }
  [[nodiscard]] double timestep_of(int64_t step) const {
    return schedule_.timesteps[static_cast<size_t>(step)];
  }
  [[nodiscard]] Expert expert_of(int64_t step) const {
    return plan_step(recipe_, timestep_of(step)).expert;
  }
  [[nodiscard]] bool is_of(int64_t step, Expert expert) const {
    return step < num_steps() && expert_of(step) == expert;
  }
  // The same for all steps of an expert, and for all videos.
  [[nodiscard]] bool is_guided(int64_t step) const {
    return sched::needs_uncond(plan_step(recipe_, timestep_of(step)).guidance_scale);
  }
  [[nodiscard]] std::vector<Video*> alive() const {
    std::vector<Video*> videos;
    for (const auto& video : videos_)
      if (!video->error) videos.push_back(video.get());
    return videos;
  }

  // What becomes of the videos in a step.
  struct Turns {
    std::vector<Video*> computed, predicted;
  };
  [[nodiscard]] Turns take_turns() const {
    Turns turns;
    for (Video* video : alive())
      (video->cache.begin_step(step_, video->latents) ? turns.predicted : turns.computed)
          .push_back(video);
    return turns;
  }
  // Whether the weights may be needed once more in the steps from `step` to `end`.
  [[nodiscard]] bool may_compute(int64_t step, int64_t end) const {
    for (const Video* video : alive())
      if (video->cache.may_compute(step, end)) return true;
    return false;
  }

  void make_step(const Turns& turns, BlockPool::Again again) {
    const double timestep = timestep_of(step_);
    const Run::Step step(run_, step_, state_->name);
    const bool predicted = turns.computed.empty();
    run_.tell({.stage = Stage::kDenoise,
               .done = step_,
               .total = num_steps(),
               .expert = state_->name,
               .predicted = predicted});
    run_.check_cancelled();
    const double begin = run_.elapsed_ms();
    static_cast<void>(weights_.take_load_ms());
    if (!predicted) compute(turns.computed, again);
    for (Video* video : turns.predicted) for_one(*video, [&](Video& v) { advance(v, predict(v)); });
    const double end = run_.elapsed_ms();
    run_.report().steps.push_back({.index = step_,
                                   .expert = state_->name,
                                   .timestep = timestep,
                                   .wall_ms = end - begin - weights_.take_load_ms(),
                                   .predicted = predicted});
    if (run_.report().steps.size() == 1) run_.report().first_step_ms = end;
    ++step_;
    for (Video* video : alive()) {
      for_one(*video, [&](Video& v) {
        if (v.job.after_step)
          v.job.after_step({step_, v.latents, v.solver.history(), v.cache.state()});
      });
    }
  }

  // An error of the work ends this video alone.
  static void for_one(Video& video, const std::function<void(Video&)>& work) {
    try {
      work(video);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kCancelled || error.kind() == ErrorKind::kOutOfMemory) throw;
      video.error = std::current_exception();
    }
  }

  void compute(const std::vector<Video*>& videos, BlockPool::Again again) {
    std::vector<sched::Branches> residuals(videos.size());
    const std::vector<at::Tensor> outputs = forward(videos, again, residuals);
    const size_t each = outputs.size() / videos.size();
    for (size_t i = 0; i < videos.size(); ++i) {
      const sched::Branches output{outputs[i * each],
                                   each == 2 ? outputs[i * each + 1] : at::Tensor()};
      for_one(*videos[i], [&](Video& video) {
        remember(video, output, residuals[i]);
        advance(video, output);
      });
    }
  }

  // Of a computed step, for those that are predicted.
  void remember(Video& video, const sched::Branches& output, const sched::Branches& residuals) {
    if (video.job.on_residuals) video.job.on_residuals(step_, residuals);
    if (video.cache.policy() == StepCachePolicy::kEasy)
      video.cache.keep_outputs(video.latents, output);
    if (video.cache.policy() != StepCachePolicy::kMag) return;
    const auto kept = [&](const at::Tensor& rows) {
      return rows.defined() ? rows.to(run_.compute().dtype) : rows;
    };
    video.cache.keep_residuals({kept(residuals.cond), kept(residuals.uncond)});
  }

  [[nodiscard]] sched::Branches predict(const Video& video) const {
    if (video.cache.policy() == StepCachePolicy::kEasy)
      return video.cache.predict_outputs(video.latents);
    const at::Tensor input = video.job.image.model_input(video.latents);
    const auto from = [&](const at::Tensor& residual) {
      return residual.defined() ? state_->transformer->predict(pass(), input, residual) : residual;
    };
    const sched::Branches& residuals = video.cache.residuals();
    return {from(residuals.cond), from(residuals.uncond)};
  }

  void advance(Video& video, const sched::Branches& output) {
    const auto& [cond, uncond] = output;
    const StepPlan plan = plan_step(video.job.recipe, timestep_of(step_));
    T2V_REQUIRE(at::isfinite(cond).all().item<bool>(), ErrorKind::kNumeric,
                "the transformer's output holds NaN or infinite values (step ", step_,
                ", timestep ", timestep_of(step_), plan.expert_name.empty() ? "" : ", ",
                plan.expert_name, ", ", where_it_began(), "); try --dtype fp32");
    if (video.job.preview != nullptr) {
      video.job.preview->show({.latents = video.latents,
                               .cond = cond,
                               .uncond = uncond,
                               .guidance_scale = plan.guidance_scale,
                               .sigma = schedule_.sigmas[static_cast<size_t>(step_)],
                               .steps_done = step_ + 1,
                               .num_steps = num_steps()});
    }
    video.latents = video.solver.step(video.latents, cond, uncond, plan.guidance_scale, step_);
    T2V_REQUIRE(at::isfinite(video.latents).all().item<bool>(), ErrorKind::kNumeric,
                "the latents hold NaN or infinite values (after step ", step_, ", timestep ",
                timestep_of(step_), "); try --dtype fp32 or a smaller --guidance-scale");
    run_.dump().add(indexed_name("latents_step%02d", step_), video.latents.unsqueeze(0));
  }

  [[nodiscard]] std::string where_it_began() const {
    const auto block = watch_.first_bad_block();
    return block ? core::str("first in block ", *block) : "first behind the last block";
  }

  // What all lanes of this step have in common.
  [[nodiscard]] Transformer::Pass pass(BlockPool::Again again = BlockPool::Again::kLater) const {
    const auto& times = state_->times;
    return {.time = times.at(timestep_of(step_)),
            .rope = rope_,
            .attention = attention_of_step(run_.compute(), step_, num_steps()),
            .again = again,
            .held_time = holds_frame() ? &times.at(kHeldTimestep) : nullptr,
            .held_tokens = holds_frame() ? rope_.num_tokens() / videos_[0]->latents.size(1) : 0};
  }
  // The same for all videos (step_alike).
  [[nodiscard]] bool holds_frame() const { return videos_[0]->job.image.first_frame.defined(); }

  // The model's outputs: for each video the conditional one, and behind it the other where the step
  // is guided.
  std::vector<at::Tensor> forward(const std::vector<Video*>& videos, BlockPool::Again again,
                                  std::vector<sched::Branches>& residuals) {
    const bool guided = is_guided(step_);
    std::vector<Lane> lanes;
    for (size_t i = 0; i < videos.size(); ++i) {
      const Video& video = *videos[i];
      const bool keeps =
          video.cache.policy() == StepCachePolicy::kMag || video.job.on_residuals != nullptr;
      const auto residual = [&](at::Tensor& branch) { return keeps ? &branch : nullptr; };
      const at::Tensor input = video.job.image.model_input(video.latents);
      lanes.push_back({.latents = input,
                       .condition = video.conditions.cond.get(),
                       .residual = residual(residuals[i].cond)});
      if (!guided) continue;
      lanes.push_back({.latents = input,
                       .condition = video.conditions.uncond.get(),
                       .residual = residual(residuals[i].uncond)});
    }
    auto hooks = weights_.hooks();
    hooks.after_block = [this](int64_t block, const at::Tensor& stream) {
      watch_.see(block, stream);
    };
    watch_.begin_pass();
    auto outputs = state_->transformer->forward(pass(again), lanes, hooks);
    ++state_->num_passes;
    for (Video* video : videos) book_.keep(state_->expert, video->job.text, video->conditions);
    for (const at::Tensor& output : outputs) {
      run_.dump().add(indexed_name("call%02d_output", num_calls_), output.unsqueeze(0));
      run_.dump().add(indexed_name("call%02d_timestep", num_calls_++),
                      at::tensor({timestep_of(step_)}, at::kDouble).to(timestep_type()));
    }
    return outputs;
  }

  [[nodiscard]] Conditions find_conditions(const Video& video, int64_t first_step) const {
    return book_.find(expert_of(first_step), video.job.text, is_guided(first_step));
  }

  void use_expert() {
    weights_.set_switching(has_begun_);
    has_begun_ = true;
    const StepPlan plan = plan_step(recipe_, timestep_of(step_));
    state_.emplace();
    state_->expert = plan.expert;
    state_->name = plan.expert_name;
    bool some_new = false;
    for (Video* video : alive()) {
      video->conditions =
          video->next ? std::exchange(video->next, {}).value() : find_conditions(*video, step_);
      some_new |= video->conditions.cond_is_new || video->conditions.uncond_is_new;
    }
    find_times();
    weights_.load([&] {
      state_->transformer = &tools_.experts.get(plan.expert);
      weights_.begin(*state_->transformer, plan.expert_name);
      state_->transformer->begin_prompt({.condition = some_new, .times = !has_all_times()});
    });
    for (Video* video : alive())
      book_.prepare(*state_->transformer, video->job.text, is_guided(step_), video->conditions);
    make_times();
    state_->transformer->end_prologue();
    if (rope_.num_tokens() != 0) return;
    const auto& spec = state_->transformer->spec();
    const at::Tensor& latents = videos_[0]->latents;
    rope_ =
        ops::make_rope_tables(latents.size(1), latents.size(2) / spec.patch_height,
                              latents.size(3) / spec.patch_width, spec.head_size, latents.device());
  }

  // Those that the expert at work needs.
  [[nodiscard]] std::vector<double> timesteps() const {
    std::vector<double> all;
    if (holds_frame()) all.push_back(kHeldTimestep);
    for (int64_t i = step_; is_of(i, state_->expert); ++i) all.push_back(timestep_of(i));
    return all;
  }
  void find_times() {
    for (const double timestep : timesteps()) {
      const auto* known = tools_.cache.find_time(state_->expert, timestep);
      if (known != nullptr) state_->times.emplace(timestep, *known);
    }
  }
  [[nodiscard]] bool has_all_times() const {
    for (const double timestep : timesteps())
      if (state_->times.count(timestep) == 0) return false;
    return true;
  }
  void make_times() {
    for (const double timestep : timesteps()) {
      if (state_->times.count(timestep) != 0) continue;
      const auto made = state_->times.emplace(timestep, state_->transformer->make_time(timestep));
      tools_.cache.keep_time(state_->expert, timestep, made.first->second);
    }
  }

  void hand_over(int64_t next_step) {
    if (tools_.experts.keeps_both()) return;
    // Held from here on: what the loader counts on is not given up in between.
    bool all_known = true;
    for (Video* video : alive()) {
      video->next = find_conditions(*video, next_step);
      all_known &= !video->next->cond_is_new && !video->next->uncond_is_new;
    }
    weights_.load([&] {
      tools_.experts.hand_over_to(expert_of(next_step), all_known ? models::wan::PromptKeys::kKnown
                                                                  : models::wan::PromptKeys::kMade);
    });
  }

  // What the expert's weights have cost goes into the report; its conditions go.
  void leave_expert() {
    weights_.end();
    for (const auto& video : videos_) book_.leave(state_->num_passes, video->conditions);
    book_.end_phase();
    state_.reset();
  }

  // Of --dump: listed timesteps need not be whole.
  [[nodiscard]] at::ScalarType timestep_type() const {
    return recipe_.t_list.empty() ? at::kLong : at::kDouble;
  }

  void dump_schedule() {
    run_.dump().add("init_latents", videos_[0]->latents.unsqueeze(0));
    if (!run_.dump().wanted()) return;
    run_.dump().add("timesteps", at::tensor(schedule_.timesteps, at::kDouble).to(timestep_type()));
    run_.dump().add("sigmas", at::tensor(schedule_.sigmas, at::kFloat));
  }

  const DenoiseTools tools_;
  Run& run_;
  WeightUse weights_;
  BlockWatch watch_;
  const Recipe& recipe_;  // the first one: what all have in common
  ConditionBook book_;
  sched::NoiseSchedule schedule_;
  int64_t step_;  // that comes next
  std::vector<std::unique_ptr<Video>> videos_;
  ops::RopeTables rope_;
  std::optional<ExpertState> state_;
  int64_t num_calls_ = 0;
  bool has_begun_ = false;  // an expert has been at work
};

Denoiser::Denoiser(std::vector<DenoiseJob> jobs, const DenoiseTools& tools, Run& run)
    : loop_(std::make_unique<Loop>(std::move(jobs), tools, run)) {}

Denoiser::~Denoiser() = default;

bool Denoiser::finished() const { return loop_->finished(); }

Expert Denoiser::next_expert() const { return loop_->next_expert(); }

void Denoiser::run_phase(AfterPhase after) { loop_->run_phase(after); }

std::vector<DenoiseResult> Denoiser::results() const { return loop_->results(); }

}  // namespace t2v::pipeline
