#include "pipeline/fit_advice.h"

#include <optional>
#include <vector>

#include "core/check.h"

namespace t2v::pipeline {
namespace {

// Plans are made without reading anything, so that trying is cheap.
bool would_fit(const EngineState& engine, const EngineOptions& options, const Recipe& recipe) {
  try {
    return fits(engine.memory_plan_with(options, recipe));
  } catch (const Error&) {  // this machine or model cannot do that
    return false;
  }
}

std::optional<int64_t> most_frames(const EngineState& engine, Recipe recipe) {
  const int64_t step = engine.model().geometry_rules().temporal_scale;
  int64_t low = 0;                            // latent frames behind the first: known to fit
  int64_t high = (recipe.frames - 1) / step;  // known not to
  const auto fit_with = [&](int64_t count) {
    recipe.frames = count * step + 1;
    return would_fit(engine, engine.options(), recipe);
  };
  if (high == 0 || !fit_with(0)) return std::nullopt;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (fit_with(middle) ? low : high) = middle;
  }
  return low * step + 1;
}

// "960x528".
std::optional<std::string> largest_size(const EngineState& engine, const Recipe& recipe) {
  const GeometryRules rules = engine.model().geometry_rules();
  const int64_t across = rules.spatial_scale * rules.patch_width;
  const int64_t down = rules.spatial_scale * rules.patch_height;
  for (int64_t height = recipe.height - down; height >= down; height -= down) {
    Recipe smaller = recipe;
    smaller.height = height;
    smaller.width = recipe.width * height / recipe.height / across * across;
    if (smaller.width == 0) return std::nullopt;
    if (would_fit(engine, engine.options(), smaller))
      return core::str(smaller.width, "x", smaller.height);
  }
  return std::nullopt;
}

// A budget that was given may be raised as far as the machine goes.
std::vector<std::string> budgets_to_raise(const EngineState& engine, const Recipe& recipe) {
  EngineOptions free = engine.options();
  free.ram_budget_bytes = free.vram_budget_bytes = 0;
  const Budgets most = choose_budgets(free, engine.compute());
  const MemoryPlan plan = engine.memory_plan(recipe);
  EngineOptions raised = engine.options();
  std::vector<std::string> ways;
  const auto raise = [&](const char* flag, int64_t& budget, int64_t smallest, int64_t limit) {
    if (budget == 0 || budget >= smallest) return;
    const int64_t mib = (smallest >> 20) + 1;
    budget = mib << 20;
    if (budget <= limit) ways.push_back(core::str(flag, ' ', mib, "MiB"));
  };
  raise("--ram-budget", raised.ram_budget_bytes, plan.smallest_ram, most.ram);
  raise("--vram-budget", raised.vram_budget_bytes, plan.smallest_vram, most.vram);
  if (!would_fit(engine, raised, recipe)) return {};
  if (ways.size() < 2) return ways;
  return {ways[0] + " with " + ways[1]};
}

}  // namespace

std::string fit_advice(const EngineState& engine, const Recipe& recipe) {
  std::vector<std::string> ways;
  const auto try_options = [&](const char* way, const auto& change) {
    EngineOptions options = engine.options();
    change(options);
    if (would_fit(engine, options, recipe)) ways.emplace_back(way);
  };
  const EngineOptions& now = engine.options();
  for (const std::string& way : budgets_to_raise(engine, recipe)) ways.push_back(way);
  if (now.offload != Offload::kAuto)
    try_options("--offload auto", [](EngineOptions& o) { o.offload = Offload::kAuto; });
  if (now.vae_tiling == VaeTiling::kOff)
    try_options("--vae-tiling auto", [](EngineOptions& o) { o.vae_tiling = VaeTiling::kAuto; });
  if (now.quant == Quant::kNone)
    try_options("--quant int8", [](EngineOptions& o) { o.quant = Quant::kInt8; });
  // A causal run's memory depends on its window, not on its length.
  if (recipe.causal.empty()) {
    if (const auto frames = most_frames(engine, recipe))
      ways.push_back(core::str("--frames ", *frames));
  }
  // The size of image-to-video is that of the picture's shape.
  if (!recipe.image) {
    if (const auto size = largest_size(engine, recipe)) ways.push_back("--size " + *size);
  }
  std::string text;
  for (size_t i = 0; i < ways.size(); ++i)
    text += (i == 0 ? "" : i + 1 == ways.size() ? " or " : ", ") + ways[i];
  return text;
}

}  // namespace t2v::pipeline
