#include "pipeline/batch_limits.h"

#include <algorithm>
#include <utility>

#include "pipeline/denoise_plan.h"

namespace t2v::pipeline {
namespace {

// A killed process loses what is between two files: waves are not longer than this.
constexpr double kMaxWaveMs = 10 * 60 * 1000;
constexpr int64_t kMaxGroups = 8;
// Videos that share matrix products. More gain nothing there, and all would be decoded at the end,
// beside nothing.
constexpr int64_t kMaxShared = 4;
// Videos that share every read of a streamed block.
constexpr int64_t kMaxStreamedTogether = 4;

}  // namespace

int64_t group_limit(const EngineState& engine, const Recipe& recipe, double last_video_ms) {
  if (!recipe.causal.empty()) return 1;
  const int64_t branches = is_guided(recipe) ? 2 : 1;
  const int64_t tokens = engine.geometry_of(recipe).num_tokens;
  const MemoryPlan one = engine.memory_plan(recipe);
  int64_t limit = std::clamp<int64_t>(models::wan::num_shared(tokens) / branches, 1, kMaxShared);
  if (one.streamed_bytes_per_step > 0 && last_video_ms > 0)
    limit = std::max(limit, std::clamp<int64_t>(static_cast<int64_t>(kMaxWaveMs / last_video_ms), 1,
                                                kMaxStreamedTogether));
  const auto is_as_good = [&](const MemoryPlan& plan) {
    return fits(plan) && plan.streamed_bytes_per_step <= one.streamed_bytes_per_step &&
           plan.keep_loaded == one.keep_loaded && plan.keep_both_experts == one.keep_both_experts;
  };
  while (limit > 1 && !is_as_good(engine.memory_plan(recipe, {.videos = limit}))) --limit;
  return limit;
}

bool decodes_beside(const EngineState& engine, const Recipe& recipe) {
  const MemoryPlan one = engine.memory_plan(recipe);
  const MemoryPlan beside = engine.memory_plan(recipe, {.decodes_along = true});
  return fits(beside) && beside.streamed_bytes_per_step <= one.streamed_bytes_per_step &&
         beside.keep_loaded && !beside.vae_tiling.is_tiled();
}

std::optional<MemoryPlan> plan_with_texts(const EngineState& engine, const Recipe& recipe,
                                          Together together, const MemoryPlan& plan) {
  if (!recipe.causal.empty()) return std::nullopt;
  together.encodes_along = true;
  MemoryPlan beside = engine.memory_plan(recipe, together);
  const bool is_as_good =
      fits(beside) && beside.streamed_bytes_per_step <= plan.streamed_bytes_per_step &&
      beside.keep_loaded == plan.keep_loaded &&
      beside.keep_both_experts == plan.keep_both_experts && beside.vae_tiling == plan.vae_tiling;
  return is_as_good ? std::make_optional(std::move(beside)) : std::nullopt;
}

int64_t wave_limit(const EngineState& engine, const Recipe& recipe, double last_video_ms) {
  if (!recipe.boundary || !recipe.causal.empty() || last_video_ms <= 0 ||
      engine.memory_plan(recipe).keep_both_experts)
    return 1;
  return std::clamp<int64_t>(static_cast<int64_t>(kMaxWaveMs / last_video_ms), 1, kMaxGroups);
}

bool suit_each_other(const BatchItem& a, const BatchItem& b) {
  const auto is_plain = [](const BatchItem& i) {
    return i.outputs.dump_path.empty() && i.outputs.timeout_s == 0;
  };
  return is_plain(a) && is_plain(b) && step_alike(a.recipe, b.recipe);
}

}  // namespace t2v::pipeline
