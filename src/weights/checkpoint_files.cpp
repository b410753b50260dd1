#include "weights/checkpoint_files.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>
#include <vector>

#include "core/check.h"

namespace t2v::weights {
namespace fs = std::filesystem;
namespace {

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

std::vector<std::string> list_names(const std::string& folder, ErrorKind kind) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator next(folder, error);
  for (; !error && next != fs::directory_iterator(); next.increment(error)) {
    names.push_back(next->path().filename().string());
  }
  T2V_REQUIRE(!error, kind, "cannot read folder: ", error.message(), " (", folder, ")");
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> ending_with(const std::vector<std::string>& names,
                                     const std::string& suffix) {
  std::vector<std::string> found;
  std::copy_if(names.begin(), names.end(), std::back_inserter(found),
               [&](const std::string& name) { return name.ends_with(suffix); });
  return found;
}

std::string only_one(const std::vector<std::string>& names, const std::string& folder,
                     ErrorKind kind) {
  T2V_REQUIRE(names.size() == 1, kind, "several checkpoints in one folder: '", names[0], "', '",
              names[1], "' (", folder, "); keep one of them");
  return (fs::path(folder) / names[0]).string();
}

}  // namespace

CheckpointFile find_checkpoint_file(const std::string& folder, ErrorKind kind) {
  const std::vector<std::string> names = list_names(folder, kind);
  for (const Known& known : kKnown) {
    if (std::binary_search(names.begin(), names.end(), known.name)) {
      return {(fs::path(folder) / known.name).string(), known.is_index};
    }
  }
  const std::vector<std::string> indices = ending_with(names, ".safetensors.index.json");
  if (!indices.empty()) return {only_one(indices, folder, kind), true};
  std::vector<std::string> files = ending_with(names, ".safetensors");
  const auto shard = std::find_if(files.begin(), files.end(), [](const std::string& name) {
    return name.find("-of-") != std::string::npos;
  });
  T2V_REQUIRE(shard == files.end(), kind, "missing index: '", *shard,
              "' is one of several shards, but there is no *.safetensors.index.json (", folder,
              ")");
  if (!files.empty()) return {only_one(files, folder, kind), false};
  for (const char* suffix : {".gguf", ".bin", ".pth", ".pt"}) {
    const std::vector<std::string> others = ending_with(names, suffix);
    T2V_REQUIRE(others.empty(), kind, "no safetensors file: '", others[0],
                "' is of a kind that this version does not read (", folder, ")");
  }
  throw Error(kind, core::str("no weights: expected '", kKnown[1].name, "' or '", kKnown[2].name,
                              "' (", folder, ")"));
}

bool is_base_name(const std::string& name) noexcept {
  if (name.empty() || name.size() > 255 || name == "." || name == "..") return false;
  return std::none_of(name.begin(), name.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return c == '/' || c == '\\' || byte < 0x20 || byte == 0x7f;
  });
}

}  // namespace t2v::weights
