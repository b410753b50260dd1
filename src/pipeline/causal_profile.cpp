#include "pipeline/causal_profile.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>

#include "core/check.h"
#include "core/escape.h"
#include "core/module.h"
#include "sched/noise_schedule.h"
#include "weights/json_file.h"

namespace t2v::pipeline {
namespace {

namespace fs = std::filesystem;
using weights::JsonFile;

constexpr int64_t kMaxProfileBytes = 1 << 20;
constexpr int64_t kMaxFrames = 4096;  // of a chunk or a window
constexpr size_t kMaxSteps = 1000;
constexpr const char* kKeys[] = {"about",     "first_chunk",  "chunk",          "sampler",
                                 "timesteps", "warp",         "shift",          "window",
                                 "sinks",     "sink_rope",    "guidance_scale", "context_timestep",
                                 "fps",       "prompt_change"};

// Where the profiles lie that come with the program; "" when they do not.
std::string profile_folder() {
  const fs::path own = core::own_folder();
  std::error_code ignored;
  for (const char* place : {"profiles", "../profiles", "../../profiles", "../share/t2v/profiles",
                            "../../share/t2v/profiles"}) {
    const fs::path folder = (own / place).lexically_normal();
    if (fs::is_directory(folder, ignored)) return folder.string();
  }
  return "";
}

std::string known_names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  if (!folder.empty()) {
    for (const auto& entry : fs::directory_iterator(folder, ignored))
      if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "a profile's file" : text;
}

// One of several words.
template <typename T>
T read_word(const JsonFile& file, const char* key, std::initializer_list<T> all,
            const char* (*name)(T) noexcept) {
  const std::string word = file.get_string(key);
  std::string expected;
  for (const T value : all) {
    if (word == name(value)) return value;
    expected += core::str(expected.empty() ? "\"" : ", \"", name(value), "\"");
  }
  file.refuse(key, expected);
}

void read_timesteps(const JsonFile& file, CausalProfile& p) {
  const bool warp = file.get_bool("warp");
  const double shift = file.get_double("shift", 1e-3, 1e3);
  p.timesteps = file.get_double_list("timesteps", 1e-6, 1000);
  if (p.timesteps.empty() || p.timesteps.size() > kMaxSteps)
    file.refuse("timesteps", core::str("1 to ", kMaxSteps, " numbers"));
  for (size_t i = 1; i < p.timesteps.size(); ++i)
    if (!(p.timesteps[i] < p.timesteps[i - 1])) file.refuse("timesteps", "falling numbers");
  if (!warp) return;
  p.shift = shift;
  for (double& t : p.timesteps) t = 1000 * sched::shift_sigma(t / 1000, shift);
}

}  // namespace

const char* sampler_name(CausalSampler sampler) noexcept {
  if (sampler == CausalSampler::kRenoise) return "renoise";
  return sampler == CausalSampler::kEuler ? "euler" : "unipc";
}

int64_t CausalProfile::whole_chunks(int64_t latent_frames) const {
  const int64_t behind = std::max<int64_t>(0, latent_frames - first_chunk);
  return first_chunk + (behind + chunk - 1) / chunk * chunk;
}

CausalProfile parse_profile(const JsonFile& file) {
  for (const std::string& key : file.keys())
    if (std::find(std::begin(kKeys), std::end(kKeys), key) == std::end(kKeys))
      file.refuse(key, "one of the known keys (docs/causal.md)");
  static_cast<void>(file.find_string("about"));
  CausalProfile p;
  p.name = file.name();
  p.chunk = file.get_int("chunk", 1, kMaxFrames);
  p.first_chunk = file.get_int("first_chunk", 1, kMaxFrames);
  p.sampler = read_word(file, "sampler",
                        {CausalSampler::kRenoise, CausalSampler::kEuler, CausalSampler::kUniPC},
                        sampler_name);
  read_timesteps(file, p);
  p.context_timestep = file.get_double("context_timestep", 0, 1000);
  p.sinks = file.get_int("sinks", 0, kMaxFrames);
  p.window = file.get_int("window", 1, kMaxFrames);
  if (p.window < p.sinks + p.largest_chunk())
    file.refuse("window", core::str("at least ", p.sinks + p.largest_chunk(),
                                    ": room for the sinks and the largest chunk"));
  p.sink_rope =
      read_word(file, "sink_rope", {SinkRope::kAbsolute, SinkRope::kRelative}, sink_rope_name);
  p.fps = file.get_double("fps", 0.01, 1000);
  p.guidance_scale = file.get_double("guidance_scale", 0, 100);
  p.prompt_change =
      read_word(file, "prompt_change",
                {PromptChange::kResetCross, PromptChange::kRecache, PromptChange::kFlush},
                prompt_change_name);
  return p;
}

CausalProfile find_profile(const std::string& name) {
  std::string path = name;
  if (name.find('/') == std::string::npos && !name.ends_with(".json")) {
    const std::string folder = profile_folder();
    path = (fs::path(folder) / (name + ".json")).string();
    std::error_code ignored;
    T2V_REQUIRE(!folder.empty() && !name.empty() && fs::is_regular_file(path, ignored),
                ErrorKind::kUsage, "no causal profile '", core::escape_control(name, 80),
                "' (--causal); try ", known_names(folder));
  }
  CausalProfile p = parse_profile(JsonFile::read(path, kMaxProfileBytes, ErrorKind::kInput));
  p.name = name;
  return p;
}

namespace {

// Of a transformer's config: the reason, or "".
std::string evidence_of_config(const JsonFile& config) {
  if (config.has_value("_class_name")) {
    const auto name = config.find_string("_class_name").value_or("");
    if (name.find("Causal") != std::string::npos)
      return core::str("'_class_name' is '", core::escape_control(name, 60), "' in ",
                       config.name());
  }
  for (const char* key : {"causal", "is_causal", "num_frame_per_block", "local_attn_size"}) {
    if (!config.has_value(key)) continue;
    const std::string shown = config.shown(key);
    if (shown != "false" && shown != "0") return core::str("'", key, "' in ", config.name());
  }
  return "";
}

}  // namespace

std::string causal_evidence(const Model& model) {
  if (model.own_settings.causal) return core::str("'causal' in ", model.folder.t2v_json);
  const weights::ComponentFiles& files = model.folder.transformer;
  for (const char* key : {"t2v.causal", "t2v.wrapper"}) {
    const auto& metadata = files.checkpoint->metadata();
    if (const auto found = metadata.find(key); found != metadata.end())
      return core::str(key, " '", core::escape_control(found->second, 60), "' in ", files.path);
  }
  if (files.config.empty()) return "";
  return evidence_of_config(JsonFile::read(*model.storage->open(files.config)));
}

void require_causal_weights(const Model& model, const std::string& profile, bool forced) {
  T2V_REQUIRE(!model.two_experts(), ErrorKind::kModel, "cannot generate causally with ",
              model.variant.name,
              ": this version of t2v does so with one transformer, here are two experts "
              "(--causal ",
              profile, "); try without --causal");
  T2V_REQUIRE(forced || !causal_evidence(model).empty(), ErrorKind::kModel,
              "nothing says that these weights were trained causal: frames of other weights look "
              "at later frames, and a cache of their past gives noise (",
              model.folder.transformer.path, ", --causal ", profile,
              "); try without --causal, a causal checkpoint, or --force-causal");
}

Geometry causal_geometry(const Recipe& recipe, const CausalProfile& profile,
                         const GeometryRules& rules) {
  Geometry g = make_geometry(recipe.width, recipe.height, recipe.frames, rules);
  const int64_t frame_tokens = g.num_tokens / g.latent_frames;
  g.latent_frames = profile.whole_chunks(g.latent_frames);
  g.num_tokens = frame_tokens * g.latent_frames;
  return g;
}

}  // namespace t2v::pipeline
