#include "pipeline/denoise_stage.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include <cstdio>
#include <map>
#include <optional>

#include "core/check.h"
#include "sched/guidance.h"
#include "sched/solver.h"

namespace t2v::pipeline {
namespace {

using models::wan::BlockPool;
using models::wan::Condition;
using models::wan::Expert;
using models::wan::Experts;
using models::wan::PoolCounts;
using models::wan::TimeModulation;
using models::wan::Transformer;

// Text conditions and modulation of one expert: built when the expert takes over, valid until the
// other one does.
struct ExpertState {
  Transformer* transformer = nullptr;
  Expert expert = Expert::kHighNoise;
  std::string name;  // "" for single-expert models
  Condition cond;
  std::optional<Condition> uncond;
  std::map<int64_t, TimeModulation> times;  // by timestep
  PoolCounts counts_before;
  int64_t bytes_before = 0;
};

std::string indexed(const char* pattern, int64_t index) {
  char name[32];
  std::snprintf(name, sizeof name, pattern, static_cast<int>(index));
  return name;
}

class Denoiser {
 public:
  Denoiser(const Recipe& recipe, const TextEmbeddings& text, const at::Tensor& noise, Run& run)
      : recipe_(recipe),
        text_(text),
        run_(run),
        latents_(noise.to(run.compute().device)),
        schedule_(sched::make_noise_schedule(recipe.solver, recipe.sigma_table, recipe.steps,
                                             recipe.shift)) {}

  at::Tensor run(Experts& experts, AfterPrompt after) {
    dump_schedule();
    sched::SolverState solver(recipe_.solver, schedule_);
    const int64_t num_steps = schedule_.num_steps();
    for (int64_t i = 0; i < num_steps; ++i) {
      const int64_t timestep = timestep_of(i);
      const StepPlan plan = plan_step(recipe_, timestep);
      run_.tell(Stage::kDenoise, i, num_steps, plan.expert_name);
      run_.check_cancelled();
      const double begin = run_.elapsed_ms();
      load_ms_ = 0;
      if (!state_ || state_->expert != plan.expert) use_expert(plan, experts, i);
      const bool leaves = i + 1 < num_steps && expert_of(i + 1) != plan.expert;
      if (leaves) hand_over(expert_of(i + 1), experts);
      const bool last =
          leaves ? !experts.keeps_both() : i + 1 == num_steps && after == AfterPrompt::kGiveUp;
      const auto [cond, uncond] = model_output(
          plan, timestep, i, last ? BlockPool::Again::kNever : BlockPool::Again::kLater);
      latents_ = solver.step(latents_, cond, uncond, plan.guidance_scale, i);
      require_finite(i, timestep);
      run_.dump().add(indexed("latents_step%02d", i), latents_.unsqueeze(0));
      const double end = run_.elapsed_ms();
      run_.report().steps.push_back({.index = i,
                                     .expert = plan.expert_name,
                                     .timestep = timestep,
                                     .wall_ms = end - begin - load_ms_});
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

  // Weights come in: time and bytes are those of the loading stage.
  void load(const std::function<void()>& work) {
    const double begin = run_.elapsed_ms();
    run_.in_stage(Stage::kLoadTransformer, work);
    load_ms_ += run_.elapsed_ms() - begin;
    if (num_switches_ > 1) run_.report().weights.expert_switch_ms += run_.elapsed_ms() - begin;
  }

  void use_expert(const StepPlan& plan, Experts& experts, int64_t first_step) {
    leave_expert();  // the old expert's conditions go before the new expert comes
    ++num_switches_;
    state_.emplace();
    state_->expert = plan.expert;
    state_->name = plan.expert_name;
    load([&] {
      state_->transformer = &experts.get(plan.expert);
      state_->bytes_before = state_->transformer->weights().bytes_read();
      state_->counts_before = state_->transformer->counts();
      state_->transformer->begin_prompt();
    });
    const Transformer& transformer = *state_->transformer;
    state_->cond = transformer.make_condition(text_.cond, recipe_.text_len);
    if (sched::needs_uncond(plan.guidance_scale))  // the same in all steps of an expert
      state_->uncond = transformer.make_condition(text_.uncond, recipe_.text_len);
    for (int64_t i = first_step; i < schedule_.num_steps() && expert_of(i) == plan.expert; ++i)
      state_->times.emplace(timestep_of(i), transformer.make_time(timestep_of(i)));
    state_->transformer->end_prologue();
    const auto& spec = transformer.spec();
    rope_ = ops::make_rope_tables(latents_.size(1), latents_.size(2) / spec.patch_height,
                                  latents_.size(3) / spec.patch_width, spec.head_size,
                                  latents_.device());
  }

  void hand_over(Expert next, Experts& experts) {
    if (!experts.keeps_both()) load([&] { experts.hand_over_to(next); });
  }

  // What the expert's weights have cost goes into the report.
  void leave_expert() {
    if (!state_) return;
    const PoolCounts now = state_->transformer->counts();
    const PoolCounts& before = state_->counts_before;
    WeightTraffic& traffic = run_.report().weights;
    const int64_t bytes = state_->transformer->weights().bytes_read() - state_->bytes_before;
    traffic.bytes += bytes;
    traffic.stall_ms += static_cast<double>(now.stream.stall_ns - before.stream.stall_ns) * 1e-6;
    traffic.streamed_blocks += now.streamed_blocks - before.streamed_blocks;
    run_.add_read_time(now.stream.bytes - before.stream.bytes,
                       now.stream.busy_ns - before.stream.busy_ns);
    run_.add_bytes_read(Stage::kLoadTransformer, loaded_bytes_);
    run_.add_bytes_read(Stage::kDenoise, bytes - loaded_bytes_);
    loaded_bytes_ = 0;
    state_.reset();
  }

  struct ModelOutput {
    at::Tensor cond, uncond;  // uncond undefined when the step is not guided
  };

  ModelOutput model_output(const StepPlan& plan, int64_t timestep, int64_t step,
                           BlockPool::Again again) {
    const bool guided = sched::needs_uncond(plan.guidance_scale);
    std::vector<Condition*> conditions = {&state_->cond};
    if (guided) conditions.push_back(&state_->uncond.value());
    Transformer& transformer = *state_->transformer;
    const Transformer::Hooks hooks{
        .between_blocks = [this] { run_.check_cancelled(); },
        .around_load =
            [this](int64_t index, const std::function<void()>& work) {
              load(work);
              const auto& weights = state_->transformer->weights();
              loaded_bytes_ = weights.bytes_read() - state_->bytes_before;
              run_.tell({.stage = Stage::kLoadTransformer,
                         .done = index + 1,
                         .total = state_->transformer->spec().num_blocks,
                         .expert = state_->name,
                         .bytes_done = loaded_bytes_,
                         .bytes_total = weights.checkpoint().bytes_total()});
            }};
    const auto outputs = transformer.forward({.latents = latents_,
                                              .time = state_->times.at(timestep),
                                              .rope = rope_,
                                              .attention = run_.compute().attention,
                                              .again = again},
                                             conditions, hooks);
    for (const at::Tensor& output : outputs) {
      run_.dump().add(indexed("call%02d_output", num_calls_), output.unsqueeze(0));
      run_.dump().add(indexed("call%02d_timestep", num_calls_), at::tensor({timestep}, at::kLong));
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
  Run& run_;
  at::Tensor latents_;
  sched::NoiseSchedule schedule_;
  ops::RopeTables rope_;
  std::optional<ExpertState> state_;
  int64_t num_calls_ = 0;
  int64_t num_switches_ = 0;
  double load_ms_ = 0;        // of the current step
  int64_t loaded_bytes_ = 0;  // of the current expert, in its first pass
};

}  // namespace

StepPlan plan_step(const Recipe& recipe, int64_t timestep) {
  if (!recipe.boundary) return {Expert::kHighNoise, recipe.guidance_scale.high_noise, ""};
  if (sched::uses_high_noise(timestep, *recipe.boundary))
    return {Expert::kHighNoise, recipe.guidance_scale.high_noise, expert_name(Expert::kHighNoise)};
  return {Expert::kLowNoise, recipe.guidance_scale.low_noise, expert_name(Expert::kLowNoise)};
}

bool any_step_guided(const Recipe& recipe, const sched::NoiseSchedule& schedule) {
  for (const int64_t timestep : schedule.timesteps)
    if (sched::needs_uncond(plan_step(recipe, timestep).guidance_scale)) return true;
  return false;
}

at::Tensor run_denoise_stage(const Recipe& recipe, const TextEmbeddings& text,
                             const at::Tensor& noise, Experts& experts, AfterPrompt after,
                             Run& run) {
  at::Tensor latents;
  run.in_stage(Stage::kDenoise,
               [&] { latents = Denoiser(recipe, text, noise, run).run(experts, after); });
  run.dump().add("latents_final", latents.unsqueeze(0));
  return latents;
}

}  // namespace t2v::pipeline
