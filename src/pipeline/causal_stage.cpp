#include "pipeline/causal_stage.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <utility>

#include "core/check.h"
#include "ops/rope.h"
#include "ops/solver_step.h"
#include "pipeline/weight_use.h"
#include "sched/guidance.h"
#include "sched/solver.h"

namespace t2v::pipeline {
namespace {

using models::wan::BlockPool;
using models::wan::CausalCache;
using models::wan::Condition;
using models::wan::Expert;
using models::wan::Lane;
using models::wan::TimeModulation;
using models::wan::Transformer;

sched::NoiseSchedule schedule_of(const CausalProfile& profile) {
  sched::NoiseSchedule schedule;
  for (const double t : profile.timesteps) {
    schedule.sigmas.push_back(static_cast<float>(t / 1000));
    schedule.timesteps.push_back(t);
  }
  schedule.sigmas.push_back(0.0F);
  return schedule;
}

// Latent frames in one piece, and those that are still in the window, for a recache.
struct CleanChunk {
  int64_t first = 0;
  at::Tensor latents;  // fp32 [C, n, h, w]
};

class CausalDenoiser {
 public:
  CausalDenoiser(const CausalJob& job, const DenoiseTools& tools, Run& run)
      : job_(job),
        tools_(tools),
        run_(run),
        weights_(run),
        profile_(job.profile),
        schedule_(schedule_of(job.profile)),
        generator_(at::detail::createCPUGenerator(job.recipe.seed)),
        guided_(sched::needs_uncond(job.recipe.guidance_scale.high_noise)) {}

  // Chunks of an earlier run are not denoised again, but all of them go through their clean pass,
  // in order, from the first one on. The window alone would not do: in the second layer a frame's
  // keys hold what its queries have seen in the window before it, in the third what those had seen,
  // so that through all layers they reach back to the beginning. And prompt changes and slots of
  // the ring, hence the order of summation, follow from all that came before.
  void run(const ChunkListener& on_chunk) {
    const int64_t frames = job_.geometry.latent_frames;
    const int64_t frames_made = take_start();
    if (frames_made < frames) open();
    for (int64_t first = 0; first < frames;) {
      const int64_t count = first == 0 ? profile_.first_chunk : profile_.chunk;
      const bool last = first + count >= frames;
      const bool is_made = first < frames_made;
      if (transformer_ != nullptr) change_prompt(first);
      const at::Tensor latents =
          is_made ? made_chunk(first, count) : denoise_chunk(first, count, last);
      const at::Tensor host = latents.to(at::kCPU);
      deliver(host, first, on_chunk);
      if (!is_made) tell_state(host);
      if (!last && transformer_ != nullptr) {
        keep_chunk(latents, first);
        remember(latents, first);
      }
      first += count;
    }
    run_.tell(Stage::kDenoise, num_passes_, num_passes_);
    if (transformer_ != nullptr) close();
  }

 private:
  // How many latent frames an earlier run has made.
  int64_t take_start() {
    num_passes_ = profile_.num_chunks(job_.geometry.latent_frames) * schedule_.num_steps();
    const StepState& start = job_.start;
    if (!start.latents.defined()) return 0;
    pass_ = start.steps_done;
    generator_.set_state(start.history.generator);
    pieces_.push_back(start.latents);
    return start.latents.size(1);
  }

  [[nodiscard]] at::Tensor made_chunk(int64_t first, int64_t count) const {
    run_.tell(Stage::kDenoise, pass_, num_passes_);
    run_.check_cancelled();
    return job_.start.latents.narrow(1, first, count).contiguous().to(run_.compute().device);
  }

  // The clean pass that follows draws no noise: a run goes on from here as well as from behind it.
  void tell_state(const at::Tensor& host) {
    if (!job_.after_chunk) return;
    pieces_.push_back(host);
    StepState state;
    state.steps_done = pass_;
    state.history.generator = generator_.get_state();
    state.pieces = pieces_;
    job_.after_chunk(state);
  }

  void open() {
    weights_.load([&] { transformer_ = &tools_.experts.get(Expert::kHighNoise); });
    weights_.begin(*transformer_, "");
    weights_.load([&] { transformer_->begin_prompt(); });
    std::vector<double> timesteps = profile_.timesteps;
    timesteps.push_back(profile_.context_timestep);
    for (const double t : timesteps) {
      const auto* known = tools_.cache.find_time(Expert::kHighNoise, t);
      times_.emplace(t, known != nullptr ? *known : transformer_->make_time(t));
      if (known == nullptr) tools_.cache.keep_time(Expert::kHighNoise, t, times_.at(t));
    }
    cond_ = find_or_make(job_.text.prompts.at(0));
    if (guided_) uncond_ = find_or_make(job_.text.uncond.value());
    transformer_->end_prologue();
    const auto shape = cache_shape(job_.recipe, profile_, transformer_->spec(), job_.geometry);
    const Compute& compute = run_.compute();
    for (int64_t i = 0; i < (guided_ ? 2 : 1); ++i)
      caches_.push_back(std::make_unique<CausalCache>(shape, compute.dtype, compute.device));
  }

  // A condition whose keys are made in the next pass when the cache does not have it.
  std::shared_ptr<Condition> find_or_make(const TextEmbedding& text) {
    ConditionUse& use = run_.report().conditions;
    auto condition = tools_.cache.find(Expert::kHighNoise, text.key, job_.recipe.text_len);
    if (condition) {
      ++use.key_hits;
      use.saved_ms += condition->make_ms;
      return condition;
    }
    ++use.key_misses;
    condition =
        std::make_shared<Condition>(transformer_->make_condition(text.rows, job_.recipe.text_len));
    new_.emplace_back(text.key, condition);
    return condition;
  }

  // Behind the pass that made their keys.
  void keep_conditions() {
    for (const auto& [key, condition] : new_) {
      run_.report().conditions.make_ms += condition->make_ms;
      tools_.cache.keep(Expert::kHighNoise, key, job_.recipe.text_len, condition);
    }
    new_.clear();
  }

  // Where the chunk that starts with this latent frame begins in the video.
  [[nodiscard]] double seconds_of(int64_t latent_frame) const {
    const int64_t frame = latent_frame == 0 ? 0 : (latent_frame - 1) * job_.temporal_scale + 1;
    return static_cast<double>(frame) / job_.recipe.fps;
  }

  void change_prompt(int64_t first) {
    const auto& changes = job_.recipe.prompts_at;
    const size_t before = prompt_;
    while (prompt_ < changes.size() && changes[prompt_].seconds <= seconds_of(first)) ++prompt_;
    if (prompt_ == before) return;
    const TextEmbedding& text = job_.text.prompts.at(prompt_);
    const bool known =
        tools_.cache.find(Expert::kHighNoise, text.key, job_.recipe.text_len) != nullptr;
    if (!known)
      weights_.load([&] { transformer_->begin_prompt({.condition = true, .times = false}); });
    cond_ = find_or_make(text);
    if (!known) transformer_->end_prologue();
    if (first == 0) return;
    if (job_.recipe.prompt_change == PromptChange::kFlush) {
      for (const auto& cache : caches_) cache->keep_last(1);
    } else if (job_.recipe.prompt_change == PromptChange::kRecache) {
      recache();
    }
  }

  // The window's frames once more, under the new prompt. Sinks stay as they are.
  void recache() {
    int64_t oldest = -1;
    for (const int64_t frame : caches_[0]->frames()) {
      if (frame < caches_[0]->shape().sinks) continue;
      oldest = frame;
      break;
    }
    for (const auto& cache : caches_) cache->keep_last(0);
    if (oldest < 0) return;
    for (const CleanChunk& chunk : clean_) {
      const int64_t skipped = std::max<int64_t>(0, oldest - chunk.first);
      const int64_t count = chunk.latents.size(1) - skipped;
      if (count <= 0) continue;
      keep_chunk(chunk.latents.narrow(1, skipped, count).contiguous(), chunk.first + skipped);
    }
  }

  // Clean latents that a recache may need.
  void remember(const at::Tensor& latents, int64_t first) {
    if (job_.recipe.prompt_change != PromptChange::kRecache ||
        prompt_ >= job_.recipe.prompts_at.size())
      return;
    clean_.push_back({first, latents});
    const int64_t next = first + latents.size(1);
    while (clean_.front().first + clean_.front().latents.size(1) <=
           next - job_.recipe.causal_window.frames)
      clean_.pop_front();
  }

  [[nodiscard]] at::Tensor draw(int64_t count) {
    const Geometry& g = job_.geometry;
    return at::randn({1, g.latent_channels, count, g.latent_height, g.latent_width}, generator_,
                     at::kFloat)
        .squeeze(0);
  }

  at::Tensor denoise_chunk(int64_t first, int64_t count, bool last) {
    const at::Tensor noise =
        job_.noise.defined() ? job_.noise.narrow(1, first, count).contiguous() : draw(count);
    if (run_.dump().wanted()) noises_.push_back(noise);
    begin_chunk(first, count);
    at::Tensor latents = noise.to(run_.compute().device);
    sched::SolverState solver(
        profile_.sampler == CausalSampler::kUniPC ? Solver::kUniPC : Solver::kEuler, schedule_);
    for (int64_t i = 0; i < schedule_.num_steps(); ++i) {
      const Run::Step step(run_, pass_, "");
      run_.tell(Stage::kDenoise, pass_++, num_passes_);
      const double begin = run_.elapsed_ms();
      static_cast<void>(weights_.take_load_ms());
      const bool ends = last && i + 1 == schedule_.num_steps();
      const auto outputs =
          pass(latents, profile_.timesteps[static_cast<size_t>(i)], false,
               ends && tools_.after == AfterPrompt::kGiveUp ? BlockPool::Again::kNever
                                                            : BlockPool::Again::kLater);
      const at::Tensor uncond = guided_ ? outputs[1] : at::Tensor();
      const at::Tensor next = profile_.sampler == CausalSampler::kRenoise
                                  ? renoise(latents, outputs[0], uncond, i)
                                  : solver.step(latents, outputs[0], uncond, guidance(), i);
      require_finite(next, first, i);
      show(latents, outputs, first, i);
      latents = next;
      add_step(profile_.timesteps[static_cast<size_t>(i)], begin);
    }
    return latents;
  }

  [[nodiscard]] double guidance() const { return job_.recipe.guidance_scale.high_noise; }

  // Of this chunk, what the video is to have.
  [[nodiscard]] int64_t num_wanted(int64_t first, int64_t count) const {
    const int64_t wanted = (job_.recipe.frames - 1) / job_.temporal_scale + 1;
    return std::min(count, wanted - first);
  }

  void show(const at::Tensor& latents, const std::vector<at::Tensor>& outputs, int64_t first,
            int64_t step) const {
    const int64_t count = num_wanted(first, latents.size(1));
    if (job_.preview == nullptr || count <= 0) return;
    const at::Tensor shown = latents.narrow(1, 0, count);
    const at::Tensor cond = outputs[0].narrow(1, 0, count);
    const at::Tensor uncond = guided_ ? outputs[1].narrow(1, 0, count) : at::Tensor();
    job_.preview->show({.latents = shown,
                        .cond = cond,
                        .uncond = uncond,
                        .guidance_scale = guidance(),
                        .sigma = schedule_.sigmas[static_cast<size_t>(step)],
                        .steps_done = pass_,
                        .num_steps = num_passes_,
                        .past = &past_});
  }

  // x0 = x - sigma*v, then (1 - sigma')*x0 + sigma'*noise; the last step is x0.
  at::Tensor renoise(const at::Tensor& x, const at::Tensor& cond, const at::Tensor& uncond,
                     int64_t step) {
    const auto i = static_cast<size_t>(step);
    const bool last = step + 1 == schedule_.num_steps();
    const double next = last ? 0.0 : profile_.timesteps[i + 1] / 1000;
    const ops::SolverCoefficients c{.sigma = profile_.timesteps[i] / 1000,
                                    .guidance = guidance(),
                                    .predict_x = 0,
                                    .predict_x0 = 1 - next};
    ops::SolverInputs in{.x = x.contiguous(), .cond = cond.contiguous()};
    if (uncond.defined()) in.uncond = uncond.contiguous();
    at::Tensor out = ops::solver_step(in, c).next;
    return last ? out : out.add(draw(x.size(1)).to(x.device()), next);
  }

  void begin_chunk(int64_t first, int64_t count) {
    const auto& spec = transformer_->spec();
    const Geometry& g = job_.geometry;
    rope_ = ops::make_rope_tables(count, g.latent_height / spec.patch_height,
                                  g.latent_width / spec.patch_width, spec.head_size,
                                  run_.compute().device, first);
    for (const auto& cache : caches_) cache->begin_chunk(first, count);
  }

  // The clean pass: what later chunks see of this one.
  void keep_chunk(const at::Tensor& latents, int64_t first) {
    const Run::Step step(run_, pass_, "keep");
    const double begin = run_.elapsed_ms();
    static_cast<void>(weights_.take_load_ms());
    begin_chunk_again(first, latents.size(1));
    for (const auto& cache : caches_) cache->begin_keep();
    pass(latents, profile_.context_timestep, true, BlockPool::Again::kLater);
    for (const auto& cache : caches_) cache->end_keep();
    add_step(profile_.context_timestep, begin);
  }

  // A chunk that is in the caches already stays where it is.
  void begin_chunk_again(int64_t first, int64_t count) {
    if (caches_[0]->is_current(first, count)) return;
    begin_chunk(first, count);
  }

  std::vector<at::Tensor> pass(const at::Tensor& latents, double timestep, bool only_keys,
                               BlockPool::Again again) {
    std::vector<Lane> lanes = {{latents, cond_.get(), caches_[0].get()}};
    if (guided_) lanes.push_back({latents, uncond_.get(), caches_[1].get()});
    const auto outputs = transformer_->forward({.time = times_.at(timestep),
                                                .rope = rope_,
                                                .attention = run_.compute().attention,
                                                .again = again,
                                                .only_keys = only_keys},
                                               lanes, weights_.hooks());
    keep_conditions();
    for (const at::Tensor& output : outputs) {
      run_.dump().add(indexed_name("call%02d_output", num_calls_), output.unsqueeze(0));
      run_.dump().add(indexed_name("call%02d_timestep", num_calls_++),
                      at::tensor({timestep}, at::kDouble));
    }
    return outputs;
  }

  void add_step(double timestep, double begin) {
    const double end = run_.elapsed_ms();
    auto& steps = run_.report().steps;
    if (steps.empty()) run_.report().first_step_ms = end;
    steps.push_back({.index = static_cast<int64_t>(steps.size()),
                     .expert = {},
                     .timestep = timestep,
                     .wall_ms = end - begin - weights_.take_load_ms()});
  }

  void require_finite(const at::Tensor& latents, int64_t first, int64_t step) const {
    T2V_REQUIRE(at::isfinite(latents).all().item<bool>(), ErrorKind::kNumeric,
                "the latents hold NaN or infinite values (chunk from latent frame ", first,
                ", after step ", step, "); try --dtype fp32");
  }

  void deliver(const at::Tensor& host, int64_t first, const ChunkListener& on_chunk) {
    const int64_t count = num_wanted(first, host.size(1));
    if (count <= 0) return;
    const at::Tensor wanted = host.narrow(1, 0, count).contiguous();
    on_chunk(wanted);
    if (job_.preview != nullptr) past_.add(wanted);
  }

  // What the weights have cost goes into the report.
  void close() {
    weights_.end();
    run_.report().conditions.bytes = tools_.cache.bytes();
    if (run_.dump().wanted() && !noises_.empty())
      run_.dump().add("init_latents", at::cat(noises_, 1).unsqueeze(0));
  }

  const CausalJob& job_;
  DenoiseTools tools_;
  Run& run_;
  WeightUse weights_;
  const CausalProfile& profile_;
  sched::NoiseSchedule schedule_;
  at::Generator generator_;
  bool guided_;
  int64_t num_passes_ = 0;  // that make pictures
  Transformer* transformer_ = nullptr;
  std::map<double, TimeModulation> times_;
  std::vector<std::unique_ptr<CausalCache>> caches_;  // of the prompt and the negative one
  std::shared_ptr<Condition> cond_, uncond_;
  std::vector<std::pair<std::string, std::shared_ptr<Condition>>> new_;  // keys to be made
  size_t prompt_ = 0;                                                    // changes so far
  std::deque<CleanChunk> clean_;
  ops::RopeTables rope_;
  int64_t pass_ = 0, num_calls_ = 0;
  std::vector<at::Tensor> noises_;  // for the dump
  std::vector<at::Tensor> pieces_;  // StepState::pieces
  PreviewPast past_;
};

}  // namespace

models::wan::CacheShape cache_shape(const Recipe& recipe, const CausalProfile& profile,
                                    const models::TransformerSpec& spec, const Geometry& geometry) {
  const CausalWindow& window = recipe.causal_window;
  return {.num_layers = spec.num_blocks,
          .num_heads = spec.num_heads,
          .head_size = spec.head_size,
          .frame_tokens = geometry.num_tokens / geometry.latent_frames,
          .window = window.frames,
          .sinks = window.sinks,
          .chunk = profile.chunk,
          .largest_chunk = profile.largest_chunk(),
          .int8 = window.int8,
          .relative_sinks = recipe.sink_rope == SinkRope::kRelative && window.sinks > 0};
}

void run_causal_stage(const CausalJob& job, const DenoiseTools& tools, Run& run,
                      const ChunkListener& on_chunk) {
  run.in_stage(Stage::kDenoise, [&] { CausalDenoiser(job, tools, run).run(on_chunk); });
}

}  // namespace t2v::pipeline
