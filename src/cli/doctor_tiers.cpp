#include "cli/doctor_tiers.h"

#include <nlohmann/json.hpp>
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
constexpr int64_t kTemporalScale = 4;
constexpr int64_t kChannelsOfVae22 = 48;  // of latents half as wide and high

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

// Of the user's own model, by what t2v inspect tells of it; absent: it cannot be told.
std::optional<ModelShape> shape_of(const EngineOptions& options) {
  for (const PublishedModel& model : kPublished)
    if (options.model_path == model.path) return model.shape;
  if (options.model_path.starts_with("random:")) return std::nullopt;
  try {
    const auto found = nlohmann::json::parse(show_model(options, ReportFormat::kJson));
    const auto& transformer = found.at("transformer");
    const double heads = transformer.at("heads");
    ModelShape shape{.width = heads * transformer.at("head_size").get<double>(),
                     .blocks = transformer.at("blocks")};
    for (const auto& component : found.at("components"))
      if (component.at("component") == "transformer") shape.parameters = component.at("parameters");
    if (transformer.at("out_channels") == kChannelsOfVae22) shape.token_px = 32;
    return shape;
  } catch (const Error&) {  // the model does not open: plan_tier tells why
    return std::nullopt;
  } catch (const nlohmann::json::exception&) {  // a file of tensors
    return std::nullopt;
  }
}

// The first of 16-bit and 8-bit weights that fits.
Tier plan_tier(const EngineOptions& options, const std::string& preset,
               const std::optional<ModelShape>& shape, const MachineFacts& facts) {
  Tier tier{.preset = preset, .device = facts.device};
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
      if (shape) tier.minutes = estimated_minutes(recipe, *shape, facts.peak_flop_per_s);
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
  const double tokens = latent_frames * static_cast<double>(recipe.width / shape.token_px) *
                        static_cast<double>(recipe.height / shape.token_px);
  const double pass =
      2 * shape.parameters * tokens + 4 * tokens * tokens * shape.width * shape.blocks;
  const bool guided = recipe.guidance_scale.high_noise != 1 || recipe.guidance_scale.low_noise != 1;
  const double flop = pass * static_cast<double>(recipe.steps) * (guided ? 2 : 1);
  return flop / (peak_flop_per_s * kShareOfPeak) / 60;
}

std::vector<Tier> plan_tiers(const EngineOptions& options, const MachineFacts& facts) {
  std::vector<Tier> tiers;
  if (!options.model_path.empty()) {
    const auto shape = shape_of(options);
    for (const char* preset : kTiers) {
      tiers.push_back(plan_tier(options, preset, shape, facts));
      tiers.back().model = options.model_path;
    }
    return tiers;
  }
  for (const PublishedModel& model : kPublished) {
    for (const char* preset : kTiers) {
      EngineOptions published = options;
      published.model_path = model.path;
      tiers.push_back(plan_tier(published, preset, model.shape, facts));
      tiers.back().model = model.name;
    }
  }
  return tiers;
}

const char* tier_verdict(const Tier& tier) noexcept {
  if (!tier.problem.empty()) return "no";
  if (tier.minutes <= 0) return "fits";
  if (tier.minutes <= kGoodMinutes) return "good";
  return tier.minutes <= kSlowMinutes ? "slow" : "too slow";
}

}  // namespace t2v::cli
