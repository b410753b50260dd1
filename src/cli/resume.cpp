#include "cli/resume.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>
#include <vector>

#include "cli/content_hash.h"
#include "cli/output_names.h"
#include "cli/video_output.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "media/media.h"
#include "t2v/frame_source.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;  // sorts its keys

constexpr uint64_t kMaxHeaderBytes = 1 << 20;  // of a state's file: a recipe and a few tensors
constexpr uint64_t kSeedMask = 0xffffffff;     // short enough to type

Json parsed(const std::string& text) {
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

std::optional<uint64_t> seed_of_recipe(const std::string& recipe_json) {
  const Json recipe = parsed(recipe_json);
  if (!recipe.is_object() || !recipe.contains("seed")) return std::nullopt;
  return recipe["seed"].is_number_integer() ? std::optional(recipe["seed"].get<uint64_t>())
                                            : std::nullopt;
}

// The recipe in the header of a state that the engine has saved (safetensors); "" = none.
std::string recipe_of_state(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  unsigned char size_bytes[8];
  if (!file.read(reinterpret_cast<char*>(size_bytes), sizeof size_bytes)) return "";
  uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = size << 8 | size_bytes[i];
  if (size > kMaxHeaderBytes) return "";
  std::string header(static_cast<size_t>(size), '\0');
  if (!file.read(header.data(), static_cast<std::streamsize>(size))) return "";
  const Json json = parsed(header);
  if (!json.is_object()) return "";
  const Json recipe = json.value("__metadata__", Json::object()).value("t2v.recipe", Json());
  return recipe.is_string() ? recipe.get<std::string>() : "";
}

// The recipe in a video; "" when there is none, or no video.
std::string recipe_of_video(const std::string& path) {
  try {
    return media::open_media().read_recipe(path);
  } catch (const Error&) {
    return "";
  }
}

// Decodes it, but for folders of frames.
bool has_all_frames(const std::string& path, int64_t frames) {
  try {
    if (fs::is_directory(path)) {
      const Json video = parsed(media::open_media().describe(path));
      return video.is_object() && video.value("frames", Json()) == frames;
    }
    const auto source = media::open_media().open_source(path);
    int64_t found = 0;
    for (std::vector<uint8_t> rgb; source->read(rgb);) ++found;
    return found == frames;
  } catch (const Error&) {
    return false;
  }
}

// The flags of the video file that were given, as keys of a recipe and as text.
std::vector<std::pair<const char*, std::string>> output_keys(const media::SinkOptions& sink) {
  return {{"codec", sink.codec},
          {"crf", sink.crf ? std::to_string(*sink.crf) : ""},
          {"pix_fmt", sink.pix_fmt},
          {"encoder_preset", sink.encoder_preset},
          {"watermark", sink.watermark}};
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// Neighbouring indices get unrelated seeds (the finaliser of splitmix64).
uint64_t mixed(uint64_t base, uint64_t index) {
  uint64_t z = base + (index + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return (z ^ (z >> 31)) & kSeedMask;
}

}  // namespace

std::string recipe_hash_of(const std::string& recipe_json, const media::SinkOptions& sink) {
  Json recipe = parsed(recipe_json);
  if (!recipe.is_object()) return hash_of_text(recipe_json);
  for (const auto& [key, value] : output_keys(sink))
    if (!value.empty()) recipe[key] = value;
  return hash_of_text(recipe.dump(-1, ' ', false, Json::error_handler_t::replace));
}

bool is_same_recipe(const std::string& embedded, const std::string& recipe_json,
                    const media::SinkOptions& sink) {
  Json found = parsed(embedded);
  Json wanted = parsed(recipe_json);
  if (!found.is_object() || !wanted.is_object()) return false;
  for (const auto& [key, value] : output_keys(sink)) {
    if (found.contains(key) && text_of(found[key]) != value) return false;
    found.erase(key);
    wanted.erase(key);
  }
  return found == wanted;
}

EarlierRun::EarlierRun(RunPlace place) : place_(std::move(place)) {
  if (place_.start == Start::kFresh) return;
  results_ = read_results(place_.results_path);
  if (place_.results_path.empty()) return;
  std::ifstream file(seeds_path());
  const Json seeds = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (seeds.is_object() && seeds.value("base_seed", Json()).is_number_unsigned())
    base_seed_ = seeds["base_seed"].get<uint64_t>();
}

std::string EarlierRun::seeds_path() const {
  const fs::path path(place_.results_path);
  return (path.parent_path() / ("." + path.filename().string() + ".t2v-seeds")).string();
}

std::optional<uint64_t> EarlierRun::seed_in_files() const {
  if (place_.start == Start::kFresh || place_.only_output.empty()) return std::nullopt;
  const auto made = seed_of_recipe(recipe_of_video(place_.only_output));
  return made ? made : seed_of_recipe(recipe_of_state(state_name(place_.only_output)));
}

std::optional<uint64_t> EarlierRun::seed_for(int64_t index, const std::string& prompt) {
  for (int64_t i = 0; i < place_.count; ++i) {
    const auto found = results_.by_index.find(index + i);
    if (found != results_.by_index.end() && found->second.prompt == prompt)
      return found->second.seed - static_cast<uint64_t>(i);
  }
  if (const auto seed = seed_in_files()) return seed;
  if (place_.results_path.empty()) return std::nullopt;
  if (!base_seed_) {
    std::random_device device;
    base_seed_ = uint64_t{device()} << 32 | device();
  }
  return mixed(*base_seed_, static_cast<uint64_t>(index));
}

void EarlierRun::remember_seeds() const {
  if (!base_seed_) return;
  core::remove_abandoned(seeds_path());
  write_file(seeds_path(), Json{{"base_seed", *base_seed_}}.dump() + "\n");
}

void EarlierRun::forget_seeds() const noexcept {
  if (base_seed_) core::remove_quietly(seeds_path());
}

bool EarlierRun::has_made(const Job& job, const std::string& recipe_json, FileFacts& facts) const {
  std::error_code ignored;
  if (place_.start == Start::kFresh || job.output == "-") return false;
  for (const std::string& path : {job.output, job.dump_path, job.save_latents_path})
    if (!path.empty() && !fs::exists(path, ignored)) return false;
  facts = facts_of(job.output);
  const auto line = results_.by_output.find(job.output);
  if (line != results_.by_output.end() && line->second.done && facts.bytes >= 0) {
    const EarlierResult& earlier = line->second;
    if (earlier.recipe_hash != hash_of(recipe_json) || earlier.file.bytes != facts.bytes)
      return false;
    facts.sha256 = earlier.file.sha256;
    if (earlier.file.modified_ns == facts.modified_ns) return true;
    return !facts.sha256.empty() && hash_of_file(job.output) == facts.sha256;
  }
  if (!is_same_recipe(recipe_of_video(job.output), recipe_json, place_.sink)) return false;
  if (!has_all_frames(job.output, job.recipe.frames)) return false;
  if (facts.bytes >= 0) facts.sha256 = hash_of_file(job.output);
  return true;
}

}  // namespace t2v::cli
