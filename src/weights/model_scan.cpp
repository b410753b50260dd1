#include "weights/model_scan.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "core/check.h"
#include "weights/checkpoint_files.h"
#include "weights/json_file.h"

namespace t2v::weights {
namespace {

constexpr int kMaxDepth = 2;
constexpr size_t kMaxFolders = 256;
constexpr size_t kMaxFiles = 4096;

// Where ComfyUI keeps the components of a Wan model.
constexpr std::array<std::string_view, 5> kComfyPlaces{"diffusion_models", "unet", "text_encoders",
                                                       "clip", "vae"};
// Folders that hold no component of a Wan model.
constexpr std::array<std::string_view, 10> kOtherPlaces{
    "loras",  "lora",     "controlnet",  "embeddings",        "upscale_models",
    "assets", "examples", "clip_vision", "xlm-roberta-large", "style_models"};

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

template <typename List>
bool is_one_of(std::string_view word, const List& list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

bool is_weights_name(std::string_view name) {
  constexpr std::array<std::string_view, 7> kSuffixes{".safetensors", ".sft",  ".gguf", ".pth",
                                                      ".pt",          ".ckpt", ".bin"};
  return std::any_of(kSuffixes.begin(), kSuffixes.end(),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

struct Found {
  std::vector<std::string> weights;
  std::vector<std::string> tokenizers;
  size_t num_folders = 0;
};

void add_files(const std::string& folder, const std::vector<FolderEntry>& entries, Found& found) {
  const bool has_index = std::any_of(entries.begin(), entries.end(), [](const FolderEntry& entry) {
    return entry.name.ends_with(".index.json");
  });
  for (const FolderEntry& entry : entries) {
    if (entry.kind != PathKind::kFile && entry.kind != PathKind::kOther) continue;
    const std::string name = lower(entry.name);
    const std::string path = join_path(folder, entry.name);
    const std::vector<std::string> shards = shard_names(entry.name);
    if (name == "spiece.model" || name == "tokenizer.model") {
      found.tokenizers.push_back(path);
    } else if (name.ends_with(".index.json")) {
      found.weights.push_back(path);
    } else if (is_weights_name(name) &&
               (shards.size() == 1 || (!has_index && shards[0] == entry.name))) {
      found.weights.push_back(path);  // of a set without an index, the first
    }
  }
  T2V_REQUIRE(found.weights.size() <= kMaxFiles, ErrorKind::kModel, "more than ", kMaxFiles,
              " files of weights, expected the folder of one model (", folder, ")");
}

void walk(const Storage& storage, const std::string& folder, int depth, Found& found) {
  T2V_REQUIRE(++found.num_folders <= kMaxFolders, ErrorKind::kModel, "more than ", kMaxFolders,
              " folders, expected the folder of one model (", folder, ")");
  const std::vector<FolderEntry> entries = storage.list(folder);
  add_files(folder, entries, found);
  if (depth == kMaxDepth) return;
  for (const FolderEntry& entry : entries) {
    if (entry.kind != PathKind::kFolder || entry.name.starts_with(".") ||
        is_one_of(lower(entry.name), kOtherPlaces))
      continue;
    walk(storage, join_path(folder, entry.name), depth + 1, found);
  }
}

bool has_folder(const std::vector<FolderEntry>& entries, std::string_view name) {
  return std::any_of(entries.begin(), entries.end(), [&](const FolderEntry& entry) {
    return entry.kind == PathKind::kFolder && entry.name == name;
  });
}

bool is_wan_layout(const std::vector<FolderEntry>& entries) {
  return has_folder(entries, "high_noise_model") || has_folder(entries, "low_noise_model") ||
         std::any_of(entries.begin(), entries.end(), [](const FolderEntry& entry) {
           return entry.name.starts_with("models_t5_") || entry.name.ends_with("_VAE.pth");
         });
}

// Keys that only configs of such a component have.
bool is_config_of(const JsonFile& config, FileKind kind) {
  const auto has_any = [&](std::initializer_list<const char*> keys) {
    return std::any_of(keys.begin(), keys.end(),
                       [&](const char* key) { return config.contains(key); });
  };
  switch (kind) {
    case FileKind::kTransformer:
      return has_any({"ffn_dim", "num_attention_heads", "in_dim"});
    case FileKind::kTextEncoder:
      return has_any({"d_model", "d_kv", "relative_attention_num_buckets"});
    case FileKind::kVae:
      return has_any({"z_dim", "latents_mean", "temperal_downsample"});
    default:
      return false;
  }
}

std::string without_suffix(const std::string& path) {
  std::string_view name = path;
  if (name.ends_with(".index.json")) name.remove_suffix(std::string_view(".index.json").size());
  const size_t dot = name.rfind('.');
  const size_t slash = name.rfind('/');
  if (dot == std::string_view::npos || (slash != std::string_view::npos && dot < slash))
    return std::string(name);
  return std::string(name.substr(0, dot));
}

// A word of its own: "high" in "wan-high.gguf", not in "highlands".
bool holds_word(const std::string& text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    const auto is_letter = [&](size_t place) {
      return place < text.size() && std::isalpha(static_cast<unsigned char>(text[place])) != 0;
    };
    if (!(at > 0 && is_letter(at - 1)) && !is_letter(at + word.size())) return true;
  }
  return false;
}

NoiseLevel level_of_name(const std::string& name) {
  const auto says = [&](const std::string& word) {
    for (const char* between : {"_", "-", ""}) {
      if (name.find(word + between + "noise") != std::string::npos) return true;
    }
    return holds_word(name, word);
  };
  const bool high = says("high");
  const bool low = says("low");
  if (high == low) return NoiseLevel::kUnsaid;
  return high ? NoiseLevel::kHigh : NoiseLevel::kLow;
}

}  // namespace

std::string parent_folder(const std::string& path) {
  size_t end = path.size();
  while (end > 1 && path[end - 1] == '/') --end;
  const size_t slash = path.rfind('/', end - 1);
  if (slash == std::string::npos || end == 0) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

NoiseLevel noise_level_of(const std::string& path) {
  const NoiseLevel level = level_of_name(lower(base_name(path)));
  return level != NoiseLevel::kUnsaid ? level
                                      : level_of_name(lower(base_name(parent_folder(path))));
}

std::shared_ptr<const Checkpoint> open_checkpoint(const Storage& storage, const std::string& path) {
  return std::make_shared<const Checkpoint>(Checkpoint::open(storage, path));
}

Candidate open_candidate(const Storage& storage, const std::string& path) {
  Candidate candidate;
  candidate.path = path;
  try {
    candidate.checkpoint = open_checkpoint(storage, path);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kModel) throw;
    candidate.problem = error.what();
    return candidate;
  }
  std::vector<std::string> names;
  names.reserve(candidate.checkpoint->tensors().size());
  for (const TensorEntry& entry : candidate.checkpoint->tensors()) names.push_back(entry.name);
  candidate.kind = kind_of(names);
  return candidate;
}

ModelScan scan_model(const Storage& storage, const std::string& folder) {
  const std::vector<FolderEntry> entries = storage.list(folder);
  const std::string inner =
      has_folder(entries, "split_files") ? join_path(folder, "split_files") : folder;
  const std::vector<FolderEntry> places = inner == folder ? entries : storage.list(inner);
  Found found;
  ModelScan scan;
  if (has_folder(places, "diffusion_models") || has_folder(places, "unet")) {
    scan.layout = "comfyui";
    add_files(folder, entries, found);
    for (const std::string_view place : kComfyPlaces) {
      if (has_folder(places, place)) walk(storage, join_path(inner, std::string(place)), 1, found);
    }
  } else {
    scan.layout = is_wan_layout(entries) ? "wan" : "files";
    walk(storage, folder, 0, found);
  }
  for (const std::string& path : found.weights)
    scan.candidates.push_back(open_candidate(storage, path));
  scan.tokenizers = std::move(found.tokenizers);
  return scan;
}

std::string find_config(const Storage& storage, const std::string& path, FileKind kind) {
  std::vector<std::string> places;
  if (storage.look(path) == PathKind::kFolder) {
    places.push_back(join_path(path, "config.json"));
  } else {
    places.push_back(without_suffix(path) + ".json");
    places.push_back(join_path(parent_folder(path), "config.json"));
  }
  for (const std::string& place : places) {
    if (storage.look(place) == PathKind::kAbsent) continue;
    if (is_config_of(JsonFile::read(*storage.open(place)), kind)) return place;
  }
  return "";
}

}  // namespace t2v::weights
