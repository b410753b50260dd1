#include "pipeline/denoise_stage.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "core/check.h"
#include "pipeline/weight_use.h"
#include "sched/guidance.h"
#include "sched/solver.h"

namespace t2v::pipeline {
namespace {

using models::wan::BlockPool;
using models::wan::Condition;
using models::wan::Expert;
using models::wan::Experts;
using models::wan::TimeModulation;
using models::wan::Transformer;

// Prompts as one expert sees them. Null: not made yet; uncond also: not wanted.
struct Conditions {
  std::shared_ptr<Condition> cond, uncond;
};

// Text conditions and modulation of one expert: built when the expert takes over, valid until the
// other one does.
struct ExpertState {
  Transformer* transformer = nullptr;
  Expert expert = Expert::kHighNoise;
  std::string name;  // "" for single-expert models
  Conditions conditions;
  bool cond_is_new = false, uncond_is_new = false;  // the cache does not have them
  int64_t num_passes = 0;
  std::map<int64_t, TimeModulation> times;  // by timestep
};

class Denoiser {
 public:
  Denoiser(const Recipe& recipe, const TextEmbeddings& text, const at::Tensor& noise,
           const DenoiseTools& tools, Run& run)
      : recipe_(recipe),
        text_(text),
        tools_(tools),
        run_(run),
        weights_(run),
        latents_(noise.to(run.compute().device)),
        schedule_(sched::make_noise_schedule(recipe.solver, recipe.sigma_table, recipe.steps,
                                             recipe.shift)) {}

  at::Tensor run() {
    Experts& experts = tools_.experts;
    dump_schedule();
    sched::SolverState solver(recipe_.solver, schedule_);
    const int64_t num_steps = schedule_.num_steps();
    for (int64_t i = 0; i < num_steps; ++i) {
      const int64_t timestep = timestep_of(i);
      const StepPlan plan = plan_step(recipe_, timestep);
      run_.tell(Stage::kDenoise, i, num_steps, plan.expert_name);
      run_.check_cancelled();
      const double begin = run_.elapsed_ms();
      static_cast<void>(weights_.take_load_ms());
      if (!state_ || state_->expert != plan.expert) use_expert(plan, i);
      const bool leaves = i + 1 < num_steps && expert_of(i + 1) != plan.expert;
      if (leaves) hand_over(i + 1);
      const bool last = leaves ? !experts.keeps_both()
                               : i + 1 == num_steps && tools_.after == AfterPrompt::kGiveUp;
      const auto [cond, uncond] = model_output(
          plan, timestep, i, last ? BlockPool::Again::kNever : BlockPool::Again::kLater);
      latents_ = solver.step(latents_, cond, uncond, plan.guidance_scale, i);
      require_finite(i, timestep);
      run_.dump().add(indexed_name("latents_step%02d", i), latents_.unsqueeze(0));
      const double end = run_.elapsed_ms();
      run_.report().steps.push_back({.index = i,
                                     .expert = plan.expert_name,
                                     .timestep = timestep,
                                     .wall_ms = end - begin - weights_.take_load_ms()});
      if (i == 0) run_.report().first_step_ms = end;
    }
    leave_expert();
    run_.tell(Stage::kDenoise, num_steps, num_steps);
    return latents_;
  }

 private:
  [[nodiscard]] int64_t timestep_of(int64_t step) const {
    return schedule_.timesteps[static_cast<size_t>(step)];
  }
  [[nodiscard]] Expert expert_of(int64_t step) const {
    return plan_step(recipe_, timestep_of(step)).expert;
  }

  // Whether the expert's steps are guided; the same in all of them.
  [[nodiscard]] bool is_guided(int64_t step) const {
    return sched::needs_uncond(plan_step(recipe_, timestep_of(step)).guidance_scale);
  }

  [[nodiscard]] Conditions find_conditions(int64_t first_step) const {
    const Expert expert = expert_of(first_step);
    const auto find = [&](const TextEmbedding& text) {
      return tools_.cache.find(expert, text.key, recipe_.text_len);
    };
    return {find(text_.cond), is_guided(first_step) ? find(text_.uncond.value()) : nullptr};
  }

  void use_expert(const StepPlan& plan, int64_t first_step) {
    leave_expert();  // the old expert's conditions go before the new expert comes
    weights_.set_switching(has_begun_);
    has_begun_ = true;
    state_.emplace();
    state_->expert = plan.expert;
    state_->name = plan.expert_name;
    state_->conditions = next_ ? std::exchange(next_, {}).value() : find_conditions(first_step);
    const bool guided = is_guided(first_step);
    state_->cond_is_new = !state_->conditions.cond;
    state_->uncond_is_new = guided && !state_->conditions.uncond;
    find_times(first_step);
    weights_.load([&] {
      state_->transformer = &tools_.experts.get(plan.expert);
      weights_.begin(*state_->transformer, plan.expert_name);
      state_->transformer->begin_prompt({.condition = state_->cond_is_new || state_->uncond_is_new,
                                         .times = !has_all_times(first_step)});
    });
    const Transformer& transformer = *state_->transformer;
    prepare(state_->conditions.cond, text_.cond);
    if (guided) prepare(state_->conditions.uncond, text_.uncond.value());
    for (int64_t i = first_step; is_of(i, plan.expert); ++i) {
      if (state_->times.count(timestep_of(i)) != 0) continue;
      const auto& made =
          state_->times.emplace(timestep_of(i), transformer.make_time(timestep_of(i)));
      tools_.cache.keep_time(plan.expert, static_cast<double>(timestep_of(i)), made.first->second);
    }
    state_->transformer->end_prologue();
    const auto& spec = transformer.spec();
    rope_ = ops::make_rope_tables(latents_.size(1), latents_.size(2) / spec.patch_height,
                                  latents_.size(3) / spec.patch_width, spec.head_size,
                                  latents_.device());
  }

  [[nodiscard]] bool is_of(int64_t step, Expert expert) const {
    return step < schedule_.num_steps() && expert_of(step) == expert;
  }

  void find_times(int64_t first_step) {
    for (int64_t i = first_step; is_of(i, state_->expert); ++i) {
      const auto* known =
          tools_.cache.find_time(state_->expert, static_cast<double>(timestep_of(i)));
      if (known != nullptr) state_->times.emplace(timestep_of(i), *known);
    }
  }
  [[nodiscard]] bool has_all_times(int64_t first_step) const {
    for (int64_t i = first_step; is_of(i, state_->expert); ++i)
      if (state_->times.count(timestep_of(i)) == 0) return false;
    return true;
  }

  // A condition from the cache is ready; a new one gets its keys in the first pass.
  void prepare(std::shared_ptr<Condition>& condition, const TextEmbedding& text) {
    ConditionUse& use = run_.report().conditions;
    if (condition) {
      ++use.key_hits;
      use.saved_ms += condition->make_ms;
      return;
    }
    ++use.key_misses;
    condition = std::make_shared<Condition>(
        state_->transformer->make_condition(text.rows, recipe_.text_len));
  }

  // From here on the cache may have them, and steps that follow save what they took.
  void keep_conditions() {
    ConditionUse& use = run_.report().conditions;
    const auto keep = [&](const std::shared_ptr<Condition>& condition, const TextEmbedding& text) {
      use.make_ms += condition->make_ms;
      tools_.cache.keep(state_->expert, text.key, recipe_.text_len, condition);
    };
    if (state_->cond_is_new) keep(state_->conditions.cond, text_.cond);
    if (state_->uncond_is_new) keep(state_->conditions.uncond, text_.uncond.value());
  }

  void hand_over(int64_t next_step) {
    if (tools_.experts.keeps_both()) return;
    // Held from here on: what the loader counts on is not given up in between.
    next_ = find_conditions(next_step);
    const bool known = next_->cond && (next_->uncond || !is_guided(next_step));
    weights_.load([&] {
      tools_.experts.hand_over_to(expert_of(next_step), known ? models::wan::PromptKeys::kKnown
                                                              : models::wan::PromptKeys::kMade);
    });
  }

  // What the expert's weights have cost goes into the report.
  void leave_expert() {
    if (!state_) return;
    weights_.end();
    ConditionUse& use = run_.report().conditions;
    for (const auto& condition : {state_->conditions.cond, state_->conditions.uncond}) {
      if (condition)
        use.saved_ms += condition->make_ms * static_cast<double>(state_->num_passes - 1);
    }
    use.bytes = tools_.cache.bytes();
    state_.reset();
  }

  struct ModelOutput {
    at::Tensor cond, uncond;  // uncond undefined when the step is not guided
  };

  ModelOutput model_output(const StepPlan& plan, int64_t timestep, int64_t step,
                           BlockPool::Again again) {
    const bool guided = sched::needs_uncond(plan.guidance_scale);
    std::vector<Condition*> conditions = {state_->conditions.cond.get()};
    if (guided) conditions.push_back(state_->conditions.uncond.get());
    Transformer& transformer = *state_->transformer;
    const auto outputs = transformer.forward(
        {.latents = latents_,
         .time = state_->times.at(timestep),
         .rope = rope_,
         .attention = attention_of_step(run_.compute(), step, schedule_.num_steps()),
         .again = again},
        conditions, weights_.hooks());
    if (state_->num_passes++ == 0) keep_conditions();
    for (const at::Tensor& output : outputs) {
      run_.dump().add(indexed_name("call%02d_output", num_calls_), output.unsqueeze(0));
      run_.dump().add(indexed_name("call%02d_timestep", num_calls_),
                      at::tensor({timestep}, at::kLong));
      ++num_calls_;
    }
    T2V_REQUIRE(at::isfinite(outputs[0]).all().item<bool>(), ErrorKind::kNumeric,
                "the transformer's output holds NaN or infinite values (step ", step, ", timestep ",
                timestep, plan.expert_name.empty() ? "" : ", ", plan.expert_name,
                "); try --dtype fp32");
    return {.cond = outputs[0], .uncond = guided ? outputs[1] : at::Tensor()};
  }

  void require_finite(int64_t step, int64_t timestep) const {
    T2V_REQUIRE(at::isfinite(latents_).all().item<bool>(), ErrorKind::kNumeric,
                "the latents hold NaN or infinite values (after step ", step, ", timestep ",
                timestep, "); try --dtype fp32 or a smaller --guidance-scale");
  }

  void dump_schedule() {
    run_.dump().add("init_latents", latents_.unsqueeze(0));
    if (!run_.dump().wanted()) return;
    run_.dump().add("timesteps", at::tensor(schedule_.timesteps, at::kLong));
    run_.dump().add("sigmas", at::tensor(schedule_.sigmas, at::kFloat));
  }

  const Recipe& recipe_;
  const TextEmbeddings& text_;
  const DenoiseTools& tools_;
  Run& run_;
  WeightUse weights_;
  at::Tensor latents_;
  sched::NoiseSchedule schedule_;
  ops::RopeTables rope_;
  std::optional<ExpertState> state_;
  std::optional<Conditions> next_;  // of the expert that takes over
  int64_t num_calls_ = 0;
  bool has_begun_ = false;  // an expert has been at work
};

}  // namespace

StepPlan plan_step(const Recipe& recipe, int64_t timestep) {
  if (!recipe.boundary) return {Expert::kHighNoise, recipe.guidance_scale.high_noise, ""};
  if (sched::uses_high_noise(timestep, *recipe.boundary))
    return {Expert::kHighNoise, recipe.guidance_scale.high_noise, expert_name(Expert::kHighNoise)};
  return {Expert::kLowNoise, recipe.guidance_scale.low_noise, expert_name(Expert::kLowNoise)};
}

ops::AttentionBackend attention_of_step(const Compute& compute, int64_t step, int64_t num_steps) {
  if (!compute.protect_steps || compute.attention != ops::AttentionBackend::kOwnInt8)
    return compute.attention;
  const int64_t ends = (num_steps + 9) / 10;
  const bool protect = step < ends || step >= num_steps - ends;
  return protect ? ops::AttentionBackend::kAuto : compute.attention;
}

bool any_step_guided(const Recipe& recipe, const sched::NoiseSchedule& schedule) {
  for (const int64_t timestep : schedule.timesteps)
    if (sched::needs_uncond(plan_step(recipe, timestep).guidance_scale)) return true;
  return false;
}

at::Tensor run_denoise_stage(const Recipe& recipe, const TextEmbeddings& text,
                             const at::Tensor& noise, const DenoiseTools& tools, Run& run) {
  at::Tensor latents;
  run.in_stage(Stage::kDenoise, [&] { latents = Denoiser(recipe, text, noise, tools, run).run(); });
  run.dump().add("latents_final", latents.unsqueeze(0));
  return latents;
}

}  // namespace t2v::pipeline
