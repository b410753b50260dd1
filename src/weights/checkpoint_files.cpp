#include "weights/checkpoint_files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "core/check.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {
namespace {

constexpr int kMaxShards = 9999;

struct Known {
  const char* name;
  bool is_index;
};

// The order in which diffusers (index first) and transformers (single file first) look.
constexpr std::array<Known, 4> kKnown{{
    {"diffusion_pytorch_model.safetensors.index.json", true},
    {"diffusion_pytorch_model.safetensors", false},
    {"model.safetensors", false},
    {"model.safetensors.index.json", true},
}};

// By preference: a folder may hold the same weights twice.
constexpr std::array<const char*, 6> kSuffixes{".safetensors", ".gguf", ".pth",
                                               ".pt",          ".ckpt", ".bin"};

// "x-00002-of-00004.safetensors"
struct ShardName {
  std::string_view before;  // "x-"
  std::string_view after;   // ".safetensors"
  size_t digits = 0;        // of both numbers
  int count = 0;            // 0: not the name of a shard
};

ShardName parse_shard_name(std::string_view name) noexcept {
  constexpr std::string_view kOf = "-of-";
  const size_t of = name.find(kOf);
  if (of == std::string_view::npos) return {};
  const size_t dash = name.rfind('-', of - 1);
  const size_t digits = dash == std::string_view::npos ? 0 : of - dash - 1;
  if (of == 0 || digits == 0 || digits > 9) return {};
  const std::string_view total = name.substr(of + kOf.size(), digits);
  const std::string_view number = name.substr(dash + 1, digits);
  ShardName shard{name.substr(0, dash + 1), {}, digits, 0};
  int index = 0;
  const auto read = [](std::string_view text, int& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
  };
  if (total.size() != digits || !read(total, shard.count) || !read(number, index)) return {};
  if (shard.count < 1 || shard.count > kMaxShards || index < 1 || index > shard.count) return {};
  shard.after = name.substr(of + kOf.size() + digits);
  return shard;
}

std::vector<std::string> list_names(const Storage& storage, const std::string& folder) {
  std::vector<std::string> names;
  for (const FolderEntry& entry : storage.list(folder)) {
    if (entry.kind != PathKind::kFolder) names.push_back(entry.name);
  }
  return names;
}

std::vector<std::string> ending_with(const std::vector<std::string>& names,
                                     const std::string& suffix) {
  std::vector<std::string> found;
  std::copy_if(names.begin(), names.end(), std::back_inserter(found),
               [&](const std::string& name) { return name.ends_with(suffix); });
  return found;
}

// The only file, or the only set of shards.
std::vector<std::string> only_set(const std::vector<std::string>& names, const std::string& folder,
                                  ErrorKind kind) {
  const std::vector<std::string> set = shard_names(names[0]);
  for (const std::string& shard : set) {
    T2V_REQUIRE(std::find(names.begin(), names.end(), shard) != names.end(), kind,
                "missing index: '", names[0], "' is one of ", set.size(),
                " shards, but there is no *.index.json, and '", shard, "' is not there (", folder,
                ")");
  }
  for (const std::string& name : names) {
    T2V_REQUIRE(std::find(set.begin(), set.end(), name) != set.end(), kind,
                "several checkpoints in one folder: '", names[0], "', '", name, "' (", folder,
                "); keep one of them");
  }
  std::vector<std::string> paths;
  paths.reserve(set.size());
  for (const std::string& shard : set) paths.push_back(join_path(folder, shard));
  return paths;
}

}  // namespace

std::vector<std::string> shard_names(const std::string& name) {
  const ShardName shard = parse_shard_name(name);
  if (shard.count <= 1) return {name};
  std::vector<std::string> names;
  const size_t total_at = shard.before.size() + shard.digits;
  for (int i = 1; i <= shard.count; ++i) {
    std::string number = std::to_string(i);
    number.insert(0, shard.digits - std::min(shard.digits, number.size()), '0');
    names.push_back(std::string(shard.before) + number + name.substr(total_at));
  }
  return names;
}

CheckpointFile find_checkpoint_file(const Storage& storage, const std::string& folder,
                                    ErrorKind kind) {
  const std::vector<std::string> names = list_names(storage, folder);
  for (const Known& known : kKnown) {
    if (std::find(names.begin(), names.end(), known.name) != names.end())
      return {{join_path(folder, known.name)}, known.is_index};
  }
  for (const char* suffix : kSuffixes) {
    const std::vector<std::string> indices =
        ending_with(names, std::string(suffix) + ".index.json");
    if (!indices.empty()) return {only_set(indices, folder, kind), true};
    const std::vector<std::string> files = ending_with(names, suffix);
    if (!files.empty()) return {only_set(files, folder, kind), false};
  }
  throw Error(kind, core::str("no weights: expected '", kKnown[1].name, "' or '", kKnown[2].name,
                              "' (", folder, ")"));
}

bool is_base_name(const std::string& name) noexcept {
  if (name.empty() || name.size() > 255 || name == "." || name == "..") return false;
  return !has_control_bytes(name) && name.find_first_of("/\\") == std::string::npos;
}

}  // namespace t2v::weights
