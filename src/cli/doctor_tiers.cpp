#include "cli/doctor_tiers.h"

#include <optional>

#include "cli/parts.h"
#include "core/check.h"
#include "t2v/engine.h"

namespace t2v::cli {
namespace {

constexpr const char* kTiers[] = {"preview", "standard", "high"};
constexpr double kShareOfPeak = 0.6;
constexpr double kGoodMinutes = 15;
constexpr double kSlowMinutes = 240;
constexpr int64_t kPatchPx = 16;  // pixels of a token, each way
constexpr int64_t kTemporalScale = 4;

struct PublishedModel {
  const char* path;
  const char* name;
  ModelShape shape;
};
constexpr PublishedModel kPublished[] = {
    {"random:1.3b", "Wan2.1-T2V-1.3B", {.parameters = 1.42e9, .width = 1536, .blocks = 30}},
    {"random:a14b", "Wan2.2-T2V-A14B", {.parameters = 14.3e9, .width = 5120, .blocks = 40}},
};

const char* quant_word(Quant quant) { return quant == Quant::kInt8 ? "int8" : "none"; }

// The first of 16-bit and 8-bit weights that fits.
Tier plan_tier(const EngineOptions& options, const std::string& preset) {
  Tier tier{.preset = preset};
  for (const Quant quant : {Quant::kAuto, Quant::kInt8}) {
    EngineOptions tried = options;
    tried.quant = quant;
    try {
      const auto engine = load_engine(tried);
      Request request;
      request.prompt = "a";
      request.seed = 0;
      request.preset = preset;
      const Recipe recipe = engine->resolve(request);
      tier.quant = quant_word(quant);
      tier.problem.clear();
      tier.width = recipe.width;
      tier.height = recipe.height;
      tier.frames = recipe.frames;
      tier.steps = recipe.steps;
      return tier;
    } catch (const Error& error) {
      if (tier.problem.empty()) tier.problem = error.what();
      if (error.kind() != ErrorKind::kOutOfMemory) return tier;
    }
  }
  return tier;
}

}  // namespace

double estimated_minutes(const Recipe& recipe, const ModelShape& shape, double peak_flop_per_s) {
  if (peak_flop_per_s <= 0 || shape.parameters <= 0) return 0;
  const auto latent_frames = static_cast<double>((recipe.frames - 1) / kTemporalScale + 1);
  const double tokens = latent_frames * static_cast<double>(recipe.width / kPatchPx) *
                        static_cast<double>(recipe.height / kPatchPx);
  const double pass =
      2 * shape.parameters * tokens + 4 * tokens * tokens * shape.width * shape.blocks;
  const bool guided = recipe.guidance_scale.high_noise != 1 || recipe.guidance_scale.low_noise != 1;
  const double flop = pass * static_cast<double>(recipe.steps) * (guided ? 2 : 1);
  return flop / (peak_flop_per_s * kShareOfPeak) / 60;
}

std::vector<Tier> plan_tiers(const EngineOptions& options, const MachineFacts& facts) {
  std::vector<Tier> tiers;
  if (!options.model_path.empty()) {
    for (const char* preset : kTiers) {
      tiers.push_back(plan_tier(options, preset));
      tiers.back().model = options.model_path;
      tiers.back().device = facts.device;
    }
    return tiers;
  }
  for (const PublishedModel& model : kPublished) {
    for (const char* preset : kTiers) {
      EngineOptions published = options;
      published.model_path = model.path;
      Tier tier = plan_tier(published, preset);
      tier.model = model.name;
      tier.device = facts.device;
      if (tier.problem.empty()) {
        Recipe recipe;
        recipe.width = tier.width;
        recipe.height = tier.height;
        recipe.frames = tier.frames;
        recipe.steps = tier.steps;
        recipe.guidance_scale = {.high_noise = 2, .low_noise = 2};
        tier.minutes = estimated_minutes(recipe, model.shape, facts.peak_flop_per_s);
      }
      tiers.push_back(std::move(tier));
    }
  }
  return tiers;
}

const char* tier_verdict(const Tier& tier) noexcept {
  if (!tier.problem.empty()) return "no";
  if (tier.minutes <= kGoodMinutes) return "good";
  return tier.minutes <= kSlowMinutes ? "slow" : "too slow";
}

}  // namespace t2v::cli
