// An open model and what stays in memory between videos: experts, conditions, the decoder; and the
// rules of memory and errors that every piece of work keeps to.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "models/vae/decoder.h"
#include "pipeline/compute.h"
#include "pipeline/condition_cache.h"
#include "pipeline/denoise_stage.h"
#include "pipeline/device_errors.h"
#include "pipeline/loras.h"
#include "pipeline/model.h"
#include "pipeline/preview_factors.h"
#include "pipeline/residency.h"
#include "t2v/engine.h"

namespace t2v::pipeline {

// How many videos a plan is for.
struct Together {
  int64_t videos = 1;          // that take their steps together
  bool decodes_along = false;  // a video is decoded while the next one is denoised
  bool encodes_along = false;  // texts of later videos are encoded meanwhile
};

class EngineState {
 public:
  explicit EngineState(const EngineOptions& options);

  [[nodiscard]] const EngineOptions& options() const noexcept { return options_; }
  [[nodiscard]] const Model& model() const noexcept { return model_; }
  [[nodiscard]] const Compute& compute() const noexcept { return compute_; }
  [[nodiscard]] ConditionCache& conditions() noexcept { return conditions_; }

  [[nodiscard]] Geometry geometry_of(const Recipe& recipe) const;
  [[nodiscard]] std::string recipe_json(const Recipe& recipe) const;
  [[nodiscard]] VideoFormat format_of(const Recipe& recipe, const GenerateOutputs& outputs) const;

  // Never throws for too little memory: see fits() and require_fit().
  [[nodiscard]] MemoryPlan memory_plan(const Recipe& recipe, const Together& together = {}) const;
  // As it would be with other options: quantisation, offload and tiling are looked at. Throws
  // Error{kDevice} for a type that the device cannot run.
  [[nodiscard]] MemoryPlan memory_plan_with(const EngineOptions& options,
                                            const Recipe& recipe) const;
  // Refuses a plan that does not fit, with what would. Throws Error{kOutOfMemory}.
  void require_fit(const MemoryPlan& plan, const Recipe& recipe) const;
  // Keys and values of a causal run as this machine's memory allows. Throws Error{kModel, kUsage}.
  void resolve_window(Recipe& recipe) const;

  // Work begins that keeps to this plan: the device's allocator and the caches know their limits,
  // and the allocator's statistics begin anew.
  void begin(const MemoryPlan& plan);
  void begin_on_device(const Budgets& budgets);
  // Experts that stayed from the video before serve this one too, when its plan still has room.
  [[nodiscard]] DenoiseTools tools(const MemoryPlan& plan);
  // Behind the last step: gives up what the plan has no room for.
  void end_denoising(const MemoryPlan& plan);

  // The VAE's decoder, loaded when it is not there. Kept until drop_decoder().
  const models::vae::Decoder& decoder(Run& run);
  void drop_decoder() noexcept { decoder_.reset(); }
  // Latents to colours: those that are known, else fitted to the VAE's own encoder at the first
  // need, which takes as long as a few pictures. Throws Error{kUsage} where there is no encoder.
  const PreviewFactors& preview_factors(Run& run);
  // Of latents of this shape, by what is free now.
  [[nodiscard]] models::vae::Tiling plan_decoding(at::IntArrayRef latents);

  // Runs `work`; errors of the libraries below become ours.
  void translated(const std::function<void()>& work) const;
  // Memory of a failed run is given back, so that the next one starts as the first did.
  void give_up_memory() noexcept;
  // Device, model, total time and peaks.
  void complete(Run& run, const Recipe& recipe) const;

 private:
  [[nodiscard]] int64_t element_bytes() const { return compute_.dtype == at::kFloat ? 4 : 2; }
  [[nodiscard]] PlanInput plan_input_of(const Recipe& recipe, const Compute& compute) const;
  [[nodiscard]] std::unique_ptr<models::wan::Transformer> open_expert(
      models::wan::Expert expert, const models::wan::BlockPlan& plan) const;
  [[nodiscard]] std::optional<DeviceRoom> device_room() const noexcept;

  EngineOptions options_;
  Model model_;
  Compute compute_;
  ExpertLoras loras_;
  int64_t base_host_bytes_;  // of the process, before any weight was read
  int64_t allowed_device_bytes_ = 0;
  ConditionCache conditions_;
  std::optional<models::wan::Experts> experts_;
  std::optional<models::vae::Decoder> decoder_;
  std::optional<PreviewFactors> preview_factors_;
};

}  // namespace t2v::pipeline
