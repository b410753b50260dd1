#include "pipeline/settings.h"

#include <algorithm>
#include <charconv>

#include "core/check.h"
#include "weights/json_file.h"

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
    file.refuse("solver", "\"unipc\", \"euler\" or \"dpm++\"");
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
  return s;
}

ModelVariant identify_model(const models::TransformerSpec& spec, bool two_experts,
                            std::optional<double> boundary_ratio) {
  const bool is_14b = spec.size() == 5120 && spec.num_blocks == 40;
  const bool is_1_3b = spec.size() == 1536 && spec.num_blocks == 30;
  ModelVariant variant;
  if (two_experts) {
    variant.name = is_14b ? "Wan2.2-T2V-A14B" : "";
    variant.defaults = wan_defaults(40, 12, 4.0, 3.0);
    variant.defaults.boundary = boundary_ratio.value_or(0.875);
  } else if (is_1_3b) {
    variant.name = "Wan2.1-T2V-1.3B";
    variant.defaults = wan_defaults(50, 8, 6.0, 6.0);
    variant.defaults.width = 832;
    variant.defaults.height = 480;
  } else {
    variant.name = is_14b ? "Wan2.1-T2V-14B" : "";
    variant.defaults = wan_defaults(50, 5, 5.0, 5.0);
  }
  if (variant.name.empty()) {
    variant.name = core::str("Wan text-to-video model, ", two_experts ? "two experts, " : "",
                             spec.num_blocks, " blocks of ", spec.num_heads, " x ", spec.head_size);
  }
  return variant;
}

std::string read_model_name(const std::string& t2v_json_path) {
  if (t2v_json_path.empty()) return "";
  return weights::JsonFile::read(t2v_json_path).find_string("name").value_or("");
}

Settings read_model_settings(const std::string& t2v_json_path) {
  Settings s;
  if (t2v_json_path.empty()) return s;
  const auto file = weights::JsonFile::read(t2v_json_path);
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

Settings preset_settings(const std::string& name, std::optional<double> flow_shift) {
  Settings s;
  if (name == "official") return s;  // the model's own values
  T2V_REQUIRE(name == "diffusers", ErrorKind::kUsage, "unknown preset '", name,
              "'; try one of: official, diffusers");
  // Defaults of the diffusers library's WanPipeline and of the scheduler file it reads.
  s.negative_prompt = "";
  s.steps = 50;
  s.guidance_scale_high = 5.0;
  s.guidance_scale_low = 5.0;
  s.solver = Solver::kUniPC;
  s.sigma_table = SigmaTable::kDiffusers;
  s.shift = flow_shift;
  return s;
}

Solver parse_solver(const std::string& word) {
  for (const Solver solver : {Solver::kUniPC, Solver::kEuler, Solver::kDpmpp})
    if (word == word_for(solver)) return solver;
  throw Error(ErrorKind::kUsage,
              core::str("unknown solver '", word, "'; try one of: unipc, euler, dpm++"));
}

SigmaTable parse_sigma_table(const std::string& word) {
  for (const SigmaTable table : {SigmaTable::kWan, SigmaTable::kDiffusers})
    if (word == word_for(table)) return table;
  throw Error(ErrorKind::kUsage,
              core::str("unknown sigma table '", word, "'; try one of: wan, diffusers"));
}

const char* word_for(Solver solver) noexcept {
  switch (solver) {
    case Solver::kUniPC:
      return "unipc";
    case Solver::kEuler:
      return "euler";
    case Solver::kDpmpp:
      return "dpm++";
  }
  return "";
}

const char* word_for(SigmaTable table) noexcept {
  return table == SigmaTable::kWan ? "wan" : "diffusers";
}

}  // namespace t2v::pipeline
