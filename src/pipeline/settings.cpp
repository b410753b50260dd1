#include "pipeline/settings.h"

#include <algorithm>
#include <charconv>

#include "core/check.h"

namespace t2v::pipeline {
namespace {

// The reference program's negative prompt, for all Wan text-to-video models.
constexpr const char* kWanNegativePrompt =
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低"
    "质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态"
    "畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走";

Settings wan_defaults(int64_t steps, double shift, double guidance_high, double guidance_low) {
  Settings s;
  s.negative_prompt = kWanNegativePrompt;
  s.width = 1280;
  s.height = 720;
  s.frames = 81;
  s.fps = 16;
  s.steps = steps;
  s.shift = shift;
  s.guidance_scale_high = guidance_high;
  s.guidance_scale_low = guidance_low;
  s.solver = Solver::kUniPC;
  s.sigma_table = SigmaTable::kWan;
  return s;
}

template <typename T>
void fill(std::optional<T>& upper, const std::optional<T>& lower) {
  if (!upper) upper = lower;
}

int64_t parse_side(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

void read_size(const weights::JsonFile& file, Settings& s) {
  const auto size = file.find_string("size");
  if (!size) return;
  const size_t cross = size->find_first_of("x*");
  const int64_t width =
      cross == std::string::npos ? 0 : parse_side(std::string_view(*size).substr(0, cross));
  const int64_t height =
      cross == std::string::npos ? 0 : parse_side(std::string_view(*size).substr(cross + 1));
  if (width <= 0 || height <= 0) file.refuse("size", "\"WIDTHxHEIGHT\"");
  s.width = width;
  s.height = height;
}

void read_words(const weights::JsonFile& file, Settings& s) {
  try {
    if (const auto word = file.find_string("solver")) s.solver = parse_solver(*word);
  } catch (const Error&) {  // the same problem, but of a model file
    file.refuse("solver", "\"unipc\", \"euler\", \"dpm++\" or \"renoise\"");
  }
  try {
    if (const auto word = file.find_string("sigma_table")) s.sigma_table = parse_sigma_table(*word);
  } catch (const Error&) {
    file.refuse("sigma_table", "\"wan\" or \"diffusers\"");
  }
}

}  // namespace

Settings overlay(const Settings& upper, const Settings& lower) {
  Settings s = upper;
  fill(s.negative_prompt, lower.negative_prompt);
  fill(s.width, lower.width);
  fill(s.height, lower.height);
  fill(s.frames, lower.frames);
  fill(s.steps, lower.steps);
  fill(s.text_len, lower.text_len);
  fill(s.fps, lower.fps);
  fill(s.shift, lower.shift);
  fill(s.guidance_scale_high, lower.guidance_scale_high);
  fill(s.guidance_scale_low, lower.guidance_scale_low);
  fill(s.boundary, lower.boundary);
  fill(s.solver, lower.solver);
  fill(s.sigma_table, lower.sigma_table);
  fill(s.causal, lower.causal);
  fill(s.t_list, lower.t_list);
  fill(s.seed, lower.seed);
  return s;
}

const char* task_words(ModelTask task) noexcept {
  switch (task) {
    case ModelTask::kTextToVideo:
      return "text-to-video";
    case ModelTask::kImageToVideo:
      return "image-to-video";
    case ModelTask::kTextImageToVideo:
      return "text-and-image-to-video";
  }
  return "";
}

namespace {

// Image-to-video transformers get a mask of 4 channels and the image's latents beside the noise.
ModelTask task_of(const models::TransformerSpec& spec) {
  if (spec.image_size > 0 || spec.in_channels == 2 * spec.out_channels + 4)
    return ModelTask::kImageToVideo;
  return spec.out_channels == 48 ? ModelTask::kTextImageToVideo : ModelTask::kTextToVideo;
}

std::string blocks_text(const models::TransformerSpec& spec) {
  return core::str(spec.num_blocks, " blocks of ", spec.num_heads, " heads x ", spec.head_size);
}

// "14B", "A14B", ...; "" when the dimensions are those of no published model.
std::string size_name(const models::TransformerSpec& spec, bool two_experts) {
  if (spec.size() == 5120 && spec.num_blocks == 40) return two_experts ? "A14B" : "14B";
  if (spec.size() == 3072 && spec.num_blocks == 30 && !two_experts) return "5B";
  return spec.size() == 1536 && spec.num_blocks == 30 && !two_experts ? "1.3B" : "";
}

Settings published_defaults(ModelTask task, const std::string& size, bool two_experts) {
  if (task == ModelTask::kTextImageToVideo) {
    Settings s = wan_defaults(50, 5, 5.0, 5.0);
    s.height = 704;
    s.frames = 121;
    s.fps = 24;
    return s;
  }
  if (two_experts)
    return task == ModelTask::kTextToVideo ? wan_defaults(40, 12, 4.0, 3.0)
                                           : wan_defaults(40, 5, 3.5, 3.5);
  if (size != "1.3B") return wan_defaults(50, 5, 5.0, 5.0);
  Settings s = wan_defaults(50, 8, 6.0, 6.0);
  s.width = 832;
  s.height = 480;
  return s;
}

const char* short_name(ModelTask task) {
  if (task == ModelTask::kTextToVideo) return "T2V";
  return task == ModelTask::kImageToVideo ? "I2V" : "TI2V";
}

}  // namespace

ModelVariant identify_model(const models::TransformerSpec& spec, bool two_experts,
                            std::optional<double> boundary_ratio) {
  ModelVariant variant;
  variant.task = task_of(spec);
  const std::string size = size_name(spec, two_experts);
  variant.defaults = published_defaults(variant.task, size, two_experts);
  if (two_experts)
    variant.defaults.boundary =
        boundary_ratio.value_or(variant.task == ModelTask::kTextToVideo ? 0.875 : 0.900);
  const bool is_5b = variant.task == ModelTask::kTextImageToVideo;
  if (!size.empty() && is_5b == (size == "5B")) {
    const bool is_22 = two_experts || is_5b;
    variant.published =
        core::str(is_22 ? "Wan2.2-" : "Wan2.1-", short_name(variant.task), "-", size);
    variant.name = variant.published;
  } else {
    variant.name =
        core::str("Wan ", task_words(variant.task), " model, ", two_experts ? "two experts, " : "",
                  spec.num_blocks, " blocks of ", spec.num_heads, " x ", spec.head_size);
  }
  return variant;
}

std::string looks_like(const models::TransformerSpec& spec, bool two_experts) {
  if (size_name(spec, two_experts).empty())
    return core::str("a Wan ", task_words(task_of(spec)), " model (", blocks_text(spec), ")");
  return core::str(identify_model(spec, two_experts, std::nullopt).name, " (", blocks_text(spec),
                   ")");
}

Settings read_model_settings(const weights::JsonFile& file) {
  Settings s;
  constexpr const char* kKeys[] = {"name",
                                   "text_len",
                                   "size",
                                   "frames",
                                   "fps",
                                   "steps",
                                   "solver",
                                   "shift",
                                   "sigma_table",
                                   "guidance_scale",
                                   "boundary",
                                   "causal",
                                   "preview_factors",  // of step_preview
                                   "guidance_scale_high",
                                   "guidance_scale_low",
                                   "negative_prompt"};
  for (const std::string& key : file.keys()) {
    if (std::find(std::begin(kKeys), std::end(kKeys), key) == std::end(kKeys))
      file.refuse(key,
                  "one of the known keys (name, text_len and long flags of `t2v generate` with "
                  "underscores)");
  }
  read_size(file, s);
  read_words(file, s);
  s.negative_prompt = file.find_string("negative_prompt");
  s.causal = file.find_string("causal");
  if (s.causal && s.causal->empty()) file.refuse("causal", "a profile's name");
  s.text_len = file.find_int("text_len", 1, 1 << 16);
  s.frames = file.find_int("frames", 1, 1 << 20);
  s.steps = file.find_int("steps", 1, 1000);
  s.fps = file.find_double("fps", 0.01, 1000);
  s.shift = file.find_double("shift", 1e-3, 1e3);
  const auto both = file.find_double("guidance_scale", 0, 100);
  s.guidance_scale_high = file.find_double("guidance_scale_high", 0, 100);
  s.guidance_scale_low = file.find_double("guidance_scale_low", 0, 100);
  fill(s.guidance_scale_high, both);
  fill(s.guidance_scale_low, both);
  s.boundary = file.find_double("boundary", 0, 1);
  return s;
}

Solver parse_solver(const std::string& word) {
  for (const Solver solver : {Solver::kUniPC, Solver::kEuler, Solver::kDpmpp, Solver::kRenoise})
    if (word == solver_name(solver)) return solver;
  throw Error(ErrorKind::kUsage,
              core::str("unknown solver '", word, "'; try one of: unipc, euler, dpm++, renoise"));
}

SigmaTable parse_sigma_table(const std::string& word) {
  for (const SigmaTable table : {SigmaTable::kWan, SigmaTable::kDiffusers})
    if (word == sigma_table_name(table)) return table;
  throw Error(ErrorKind::kUsage,
              core::str("unknown sigma table '", word, "'; try one of: wan, diffusers"));
}

}  // namespace t2v::pipeline
