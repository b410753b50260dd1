#include "pipeline/presets.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/check.h"
#include "sched/distilled.h"
#include "t2v/mlperf.h"

namespace t2v::pipeline {
namespace {

// The benchmark's own (MLPerf Inference, text-to-video), on one line.
constexpr const char* kMlperfNegativePrompt =
    "vivid colors, overexposed, static, blurry details, subtitles, style, work of art, painting, "
    "picture, still, overall grayish, worst quality, low quality, JPEG artifacts, ugly, deformed, "
    "extra fingers, poorly drawn hands, poorly drawn face, deformed, disfigured, deformed limbs, "
    "fused fingers, static image, cluttered background, three legs, many people in the background, "
    "walking backwards";

void set_guidance(Settings& s, double high, double low) {
  s.guidance_scale_high = high;
  s.guidance_scale_low = low;
}

// Guidance is distilled too, so one branch is enough.
Settings distilled(std::vector<double> timesteps, Solver solver, double shift) {
  Settings s;
  set_guidance(s, 1, 1);
  s.solver = solver;
  s.sigma_table = SigmaTable::kWan;
  s.shift = shift;
  s.steps = static_cast<int64_t>(timesteps.size());
  s.t_list = std::move(timesteps);
  return s;
}

// The high-noise expert takes the first half of the steps.
Settings lightning(int64_t steps) {
  Settings s = distilled(sched::warped_timesteps(steps, 5), Solver::kEuler, 5);
  s.boundary = 0.875;
  return s;
}

Settings rcm(const Model& model, std::optional<int64_t> steps) {
  const int64_t count = steps.value_or(sched::kMaxRcmSteps);
  T2V_REQUIRE(count <= sched::kMaxRcmSteps, ErrorKind::kUsage, "--steps ", count,
              ": preset 'rcm' has 1 to ", sched::kMaxRcmSteps, " steps; try one of these");
  const bool has_image = model.variant.task == ModelTask::kImageToVideo;
  Settings s = distilled(sched::rcm_timesteps(count, has_image ? 200 : 80), Solver::kRenoise, 1);
  s.boundary = 0.9;
  return s;
}

Settings diffusers(const Model& model) {
  // Defaults of the diffusers library's WanPipeline and of the scheduler file it reads.
  Settings s;
  s.negative_prompt = "";
  s.steps = 50;
  set_guidance(s, 5, 5);
  s.solver = Solver::kUniPC;
  s.sigma_table = SigmaTable::kDiffusers;
  s.shift = model.flow_shift;
  return s;
}

Settings mlperf_settings() {
  Settings s;
  s.negative_prompt = kMlperfNegativePrompt;
  s.width = mlperf::kWidth;
  s.height = mlperf::kHeight;
  s.frames = mlperf::kFrames;
  s.fps = 16;
  s.steps = mlperf::kSteps;
  s.seed = mlperf::kSeed;
  set_guidance(s, 4, 3);
  s.boundary = 0.875;
  return s;
}

int64_t round_to(double value, int64_t step) {
  return std::max<int64_t>(1, std::llround(value / static_cast<double>(step))) * step;
}

// A picture of about this area in the model's own shape; never above its own size.
void set_size(Settings& s, const Settings& own, int64_t width, int64_t height,
              const GeometryRules& rules) {
  const auto own_width = static_cast<double>(*own.width);
  const auto own_height = static_cast<double>(*own.height);
  const double scale = std::sqrt(static_cast<double>(width * height) / (own_width * own_height));
  s.width = own.width;
  s.height = own.height;
  if (scale >= 1) return;
  const bool is_wide = std::abs(own_width / own_height / (16.0 / 9.0) - 1) < 0.05;
  const int64_t step_x = rules.spatial_scale * rules.patch_width;
  const int64_t step_y = rules.spatial_scale * rules.patch_height;
  s.width = round_to(is_wide ? static_cast<double>(width) : own_width * scale, step_x);
  s.height = round_to(is_wide ? static_cast<double>(height) : own_height * scale, step_y);
}

// Tiers of quality: size, length, share of the model's own steps.
struct Tier {
  const char* name;
  int64_t width, height;
  int64_t frames;  // at most; 0 = the model's own
  double steps;    // of the model's own
};
constexpr std::array kTiers{Tier{"draft", 448, 256, 33, 0.25}, Tier{"preview", 448, 256, 33, 0.5},
                            Tier{"standard", 832, 480, 0, 1.0}, Tier{"high", 1280, 720, 0, 1.0}};

Settings tier_settings(const Tier& tier, const Model& model) {
  const Settings own = overlay(model.own_settings, model.variant.defaults);
  const GeometryRules rules = model.geometry_rules();
  Settings s;
  set_size(s, own, tier.width, tier.height, rules);
  if (tier.frames > 0)
    s.frames =
        std::min(*own.frames, (tier.frames - 1) / rules.temporal_scale * rules.temporal_scale + 1);
  if (tier.steps < 1)
    s.steps = std::max<int64_t>(1, std::llround(tier.steps * static_cast<double>(*own.steps)));
  return s;
}

}  // namespace

PresetWeights preset_weights(const std::string& name) {
  for (const char* lora : {"lightning-4", "lightning-8", "causvid-lora"})
    if (name == lora) return PresetWeights::kLora;
  for (const char* whole : {"stepdistill-4", "fastwan", "rcm"})
    if (name == whole) return PresetWeights::kDistilled;
  return PresetWeights::kAny;
}

Settings preset_settings(const std::string& name, const Model& model,
                         std::optional<int64_t> steps) {
  if (name == "official") return {};  // the model's own values
  if (name == "diffusers") return diffusers(model);
  if (name == "mlperf") return mlperf_settings();
  if (name == "lightning-4") return lightning(4);
  if (name == "lightning-8") return lightning(8);
  if (name == "stepdistill-4") return distilled(sched::warped_timesteps(4, 5), Solver::kEuler, 5);
  if (name == "fastwan") return distilled({1000, 757, 522}, Solver::kRenoise, 8);
  if (name == "rcm") return rcm(model, steps);
  if (name == "causvid-lora")
    return distilled({999, 934, 862, 756, 603, 410, 250, 140, 74}, Solver::kEuler, 8);
  for (const Tier& tier : kTiers)
    if (name == tier.name) return tier_settings(tier, model);
  std::string names;
  for (const std::string& known : preset_names()) names += (names.empty() ? "" : ", ") + known;
  throw Error(ErrorKind::kUsage, core::str("unknown preset '", name, "'; try one of: ", names));
}

Settings settings_below(const std::string& preset, const Model& model,
                        std::optional<int64_t> steps) {
  return overlay(preset_settings(preset, model, steps),
                 overlay(model.own_settings, model.variant.defaults));
}

std::string number_text(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return std::string(text, error == std::errc() ? end : text);
}

std::string list_text(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) {
    if (!text.empty()) text += ',';
    text += number_text(value);
  }
  return text;
}

ResolvedSettings preset_values(const std::string& preset, const Model& model) {
  const Settings s = settings_below(preset, model);
  ResolvedSettings values = {
      {"negative-prompt", s.negative_prompt.value()},
      {"size", core::str(*s.width, "x", *s.height)},
      {"frames", core::str(*s.frames)},
      {"fps", number_text(*s.fps)},
      {"steps", core::str(*s.steps)},
      {"solver", solver_name(*s.solver)},
  };
  if (s.t_list) {
    values.emplace_back("t-list", list_text(*s.t_list));
  } else {
    values.emplace_back("shift", number_text(*s.shift));
    values.emplace_back("sigma-table", sigma_table_name(*s.sigma_table));
  }
  values.emplace_back("guidance-scale-high", number_text(*s.guidance_scale_high));
  values.emplace_back("guidance-scale-low", number_text(*s.guidance_scale_low));
  if (model.two_experts()) values.emplace_back("boundary", number_text(s.boundary.value_or(0.875)));
  if (s.seed) values.emplace_back("seed", core::str(*s.seed));
  values.emplace_back("step-cache", "off");
  const PresetWeights weights = preset_weights(preset);
  if (weights == PresetWeights::kLora)
    values.emplace_back("weights", model.two_experts()
                                       ? "a step-distillation LoRA for each expert, or merged"
                                       : "a step-distillation LoRA, or merged");
  if (weights == PresetWeights::kDistilled)
    values.emplace_back("weights", "a step-distilled checkpoint");
  return values;
}

}  // namespace t2v::pipeline
