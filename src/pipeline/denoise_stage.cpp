#include "pipeline/denoise_stage.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include <cstdio>
#include <optional>

#include "core/check.h"
#include "sched/guidance.h"
#include "sched/solver.h"

namespace t2v::pipeline {
namespace {

using models::wan::Condition;
using models::wan::Expert;
using models::wan::Transformer;

// Text conditions and modulation of one expert: built when the expert takes over, valid until the
// other one does.
struct ExpertState {
  const Transformer* transformer = nullptr;
  Expert expert = Expert::kHighNoise;
  Condition cond;
  std::optional<Condition> uncond;
};

std::string indexed(const char* pattern, int64_t index) {
  char name[32];
  std::snprintf(name, sizeof name, pattern, static_cast<int>(index));
  return name;
}

class Denoiser {
 public:
  Denoiser(const Recipe& recipe, const TextEmbeddings& text, const at::Tensor& noise, Run& run)
      : recipe_(recipe), text_(text), run_(run), latents_(noise.to(run.compute().device)) {}

  at::Tensor run(const std::function<const Transformer&(Expert)>& get_expert) {
    const auto schedule = sched::make_noise_schedule(recipe_.solver, recipe_.sigma_table,
                                                     recipe_.steps, recipe_.shift);
    dump_schedule(schedule);
    const auto solver = sched::make_solver(recipe_.solver, schedule);
    for (int64_t i = 0; i < schedule.num_steps(); ++i) {
      const int64_t timestep = schedule.timesteps[static_cast<size_t>(i)];
      const StepPlan plan = plan_step(recipe_, timestep);
      run_.tell(Stage::kDenoise, i, schedule.num_steps(), plan.expert_name);
      run_.check_cancelled();
      const double begin = run_.elapsed_ms();
      const bool switched = !state_ || state_->expert != plan.expert;
      if (switched) use_expert(plan.expert, get_expert);
      const double loaded = run_.elapsed_ms();
      const at::Tensor output = guided_output(plan, timestep, i);
      latents_ = solver->step(latents_, output, i);
      require_finite(i, timestep);
      run_.dump().add(indexed("latents_step%02d", i), latents_.unsqueeze(0));
      const double end = run_.elapsed_ms();
      run_.report().steps.push_back({.index = i,
                                     .expert = plan.expert_name,
                                     .timestep = timestep,
                                     .wall_ms = end - (switched ? loaded : begin)});
      if (i == 0) run_.report().first_step_ms = end;
    }
    run_.tell(Stage::kDenoise, schedule.num_steps(), schedule.num_steps());
    return latents_;
  }

 private:
  void use_expert(Expert expert, const std::function<const Transformer&(Expert)>& get_expert) {
    state_.reset();  // the old expert's conditions go before the new expert is read
    const Transformer& transformer = get_expert(expert);
    ExpertState state{.transformer = &transformer,
                      .expert = expert,
                      .cond = transformer.make_condition(text_.cond, recipe_.text_len),
                      .uncond = std::nullopt};
    if (text_.uncond.defined())
      state.uncond = transformer.make_condition(text_.uncond, recipe_.text_len);
    const auto& spec = transformer.spec();
    rope_ = ops::make_rope_tables(latents_.size(1), latents_.size(2) / spec.patch_height,
                                  latents_.size(3) / spec.patch_width, spec.head_size,
                                  latents_.device());
    state_.emplace(std::move(state));
  }

  at::Tensor guided_output(const StepPlan& plan, int64_t timestep, int64_t step) {
    const bool guided = sched::needs_uncond(plan.guidance_scale);
    std::vector<const Condition*> conditions = {&state_->cond};
    if (guided) conditions.push_back(&state_->uncond.value());
    const auto outputs =
        state_->transformer->forward(latents_, state_->transformer->make_time(timestep), conditions,
                                     rope_, [this] { run_.check_cancelled(); });
    for (const at::Tensor& output : outputs) {
      run_.dump().add(indexed("call%02d_output", num_calls_), output.unsqueeze(0));
      run_.dump().add(indexed("call%02d_timestep", num_calls_), at::tensor({timestep}, at::kLong));
      ++num_calls_;
    }
    T2V_REQUIRE(at::isfinite(outputs[0]).all().item<bool>(), ErrorKind::kNumeric,
                "the transformer's output holds NaN or infinite values (step ", step, ", timestep ",
                timestep, plan.expert_name.empty() ? "" : ", ", plan.expert_name,
                "); try --dtype fp32");
    return guided ? sched::guide(outputs[0], outputs[1], plan.guidance_scale) : outputs[0];
  }

  void require_finite(int64_t step, int64_t timestep) const {
    T2V_REQUIRE(at::isfinite(latents_).all().item<bool>(), ErrorKind::kNumeric,
                "the latents hold NaN or infinite values (after step ", step, ", timestep ",
                timestep, "); try --dtype fp32 or a smaller --guidance-scale");
  }

  void dump_schedule(const sched::NoiseSchedule& schedule) {
    run_.dump().add("init_latents", latents_.unsqueeze(0));
    if (!run_.dump().wanted()) return;
    run_.dump().add("timesteps", at::tensor(schedule.timesteps, at::kLong));
    run_.dump().add("sigmas", at::tensor(schedule.sigmas, at::kFloat));
  }

  const Recipe& recipe_;
  const TextEmbeddings& text_;
  Run& run_;
  at::Tensor latents_;
  ops::RopeTables rope_;
  std::optional<ExpertState> state_;
  int64_t num_calls_ = 0;
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

std::unique_ptr<Transformer> load_expert(const Model& model, Expert expert, Run& run) {
  const std::string name = model.two_experts() ? expert_name(expert) : "";
  const auto map =
      open_weights(model, expert == Expert::kHighNoise ? "transformer" : "transformer_2");
  std::unique_ptr<Transformer> transformer;
  run.in_stage(Stage::kLoadTransformer, [&] {
    transformer =
        std::make_unique<Transformer>(model.transformer, map, run.compute().dtype,
                                      run.compute().device, [&](int64_t done, int64_t total) {
                                        run.tell(Stage::kLoadTransformer, done, total, name);
                                        run.check_cancelled();
                                      });
  });
  run.add_bytes_read(Stage::kLoadTransformer, map.bytes_read());
  return transformer;
}

at::Tensor run_denoise_stage(const Recipe& recipe, const TextEmbeddings& text,
                             const at::Tensor& noise,
                             const std::function<const Transformer&(Expert)>& get_expert,
                             Run& run) {
  at::Tensor latents;
  run.in_stage(Stage::kDenoise,
               [&] { latents = Denoiser(recipe, text, noise, run).run(get_expert); });
  run.dump().add("latents_final", latents.unsqueeze(0));
  return latents;
}

}  // namespace t2v::pipeline
