// The sampling loop: initial noise + text embeddings -> final latents, for one video or for several
// that take their steps together.
#pragma once

#include <ATen/core/Tensor.h>

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/wan/experts.h"
#include "pipeline/denoise_plan.h"
#include "pipeline/image_condition.h"
#include "pipeline/model.h"
#include "pipeline/run.h"
#include "pipeline/step_preview.h"
#include "pipeline/text_stage.h"
#include "sched/solver.h"
#include "sched/step_cache.h"

namespace t2v::pipeline {

// Whether an expert's weights stay for the next prompt.
enum class AfterPrompt { kKeep, kGiveUp };

// What a denoising stage works with beside its recipe.
struct DenoiseTools {
  models::wan::Experts& experts;
  ConditionCache& cache;
  AfterPrompt after = AfterPrompt::kKeep;
};

// A video between two steps.
struct StepState {
  int64_t steps_done = 0;
  at::Tensor latents;  // fp32 [C, T, h, w], where the models run
  sched::SolverHistory history;
  std::map<std::string, at::Tensor> cache;  // of sched::StepCache
  // Of a causal video in place of `latents`: what is finished, in host memory, to be joined in
  // time.
  std::vector<at::Tensor> pieces = {};
};

// One video on its way through the loop.
struct DenoiseJob {
  const Recipe& recipe;
  const TextEmbeddings& text;
  StepState start;                       // initial noise, or where an earlier run has stopped
  const StepPreview* preview = nullptr;  // may be null
  ImageCondition image = {};             // of image-to-video
  // Called behind each step; may throw, which ends this video alone.
  std::function<void(const StepState&)> after_step;
  sched::StepCacheRules cache = {};
  // Behind each computed step what the blocks have added, fp32 [L, C]; empty: not wanted.
  std::function<void(int64_t step, const sched::Branches& residuals)> on_residuals = {};
};

struct DenoiseResult {
  at::Tensor latents;        // final; undefined when the video failed
  std::exception_ptr error;  // of this video alone
  StepCacheUse step_cache;
};

// What becomes of the expert when a phase ends.
enum class AfterPhase {
  kStays,   // others need it still
  kLeaves,  // the next one takes over, or the prompt ends
};

// Videos in lockstep, each step one pass of the transformer over all of them. What concerns one
// video alone (numbers that are not finite) ends that video; the others go on. Everything else
// (cancellation, memory, model files) throws, and the experts may then be in the middle of a pass
// and must be made anew. Times and traffic go to `run`; --dump wants a single video.
class Denoiser {
 public:
  // jobs: at least one, all step_alike, at the same step; what they refer to must stay.
  Denoiser(std::vector<DenoiseJob> jobs, const DenoiseTools& tools, Run& run);
  Denoiser(const Denoiser&) = delete;
  Denoiser& operator=(const Denoiser&) = delete;
  ~Denoiser();

  [[nodiscard]] bool finished() const;
  // Whose turn it is, until it has finished.
  [[nodiscard]] models::wan::Expert next_expert() const;
  // The steps of the expert whose turn it is, all of them.
  void run_phase(AfterPhase after);
  // In the order of the jobs, behind the last phase.
  [[nodiscard]] std::vector<DenoiseResult> results() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace t2v::pipeline
