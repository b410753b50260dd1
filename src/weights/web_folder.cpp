#include "weights/web_folder.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace t2v::weights {
namespace {

constexpr int kManifestLevels = 4;  // the folder itself and those above it

// Files by which folders of published models are known.
constexpr std::array kKnownFiles{
    "model_index.json",
    "config.json",
    "configuration.json",
    "t2v.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "scheduler_config.json",
    "tokenizer_config.json",
    "spiece.model",
    "models_t5_umt5-xxl-enc-bf16.pth",
    "Wan2.1_VAE.pth",
    "Wan2.2_VAE.pth",
};
// Folders of published models, each with the files that one of its kind has.
struct KnownFolder {
  const char* name;
  std::array<const char*, 2> files;
};
constexpr std::array kKnownFolders{
    KnownFolder{"transformer", {"config.json", "diffusion_pytorch_model.safetensors"}},
    KnownFolder{"transformer_2", {"config.json", "diffusion_pytorch_model.safetensors"}},
    KnownFolder{"text_encoder", {"config.json", "model.safetensors"}},
    KnownFolder{"vae", {"config.json", "diffusion_pytorch_model.safetensors"}},
    KnownFolder{"tokenizer", {"spiece.model", "tokenizer_config.json"}},
    KnownFolder{"scheduler", {"scheduler_config.json", "config.json"}},
    KnownFolder{"high_noise_model",
                {"config.json", "diffusion_pytorch_model.safetensors.index.json"}},
    KnownFolder{"low_noise_model",
                {"config.json", "diffusion_pytorch_model.safetensors.index.json"}},
    KnownFolder{"google", {"umt5-xxl/spiece.model", "umt5-xxl/tokenizer_config.json"}},
    KnownFolder{"umt5-xxl", {"spiece.model", "tokenizer_config.json"}},
};
constexpr std::array kFileSuffixes{".json", ".safetensors", ".gguf", ".pth",
                                   ".pt",   ".bin",         ".ckpt", ".model"};

bool is_named_like_a_file(const std::string& path) {
  const std::string name = base_name(path);
  return std::any_of(kFileSuffixes.begin(), kFileSuffixes.end(),
                     [&](const char* suffix) { return name.ends_with(suffix); });
}

// "https://host/a/b" -> "https://host/a"; "" above the host.
std::string parent_of(std::string path) {
  path = path.substr(0, path.find_first_of("?#"));
  while (path.ends_with('/')) path.pop_back();
  const size_t host = path.find("://") + 3;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || slash < host ? "" : path.substr(0, slash);
}

// What the manifest names directly below `prefix` ("" or "transformer/").
std::vector<FolderEntry> entries_below(const Manifest& manifest, const std::string& prefix) {
  std::vector<FolderEntry> entries;
  for (const ManifestFile& file : manifest.files) {
    if (!file.path.starts_with(prefix)) continue;
    const std::string rest = file.path.substr(prefix.size());
    const size_t slash = rest.find('/');
    FolderEntry entry{.name = rest.substr(0, slash)};
    entry.kind = slash == std::string::npos ? PathKind::kFile : PathKind::kFolder;
    entry.size = entry.kind == PathKind::kFile ? file.bytes : 0;
    const bool known = std::any_of(entries.begin(), entries.end(), [&](const FolderEntry& other) {
      return other.name == entry.name;
    });
    if (!known) entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

bool is_web_path(const std::string& path) noexcept {
  return path.starts_with("http://") || path.starts_with("https://");
}

WebFolders::ManifestPtr WebFolders::manifest_in(const std::string& folder) const {
  {
    const std::lock_guard lock(mutex_);
    const auto found = manifests_.find(folder);
    if (found != manifests_.end()) return found->second;
  }
  const std::string path = join_path(folder, kManifestName);
  ManifestPtr manifest;
  if (access_.look(path).kind == PathKind::kFile)
    manifest =
        std::make_shared<Manifest>(parse_manifest(access_.read(path, kMaxManifestBytes), path));
  const std::lock_guard lock(mutex_);
  return manifests_.emplace(folder, std::move(manifest)).first->second;
}

std::optional<std::vector<FolderEntry>> WebFolders::list_by_manifest(
    const std::string& path) const {
  std::string folder = path;
  std::string prefix;
  for (int level = 0; level < kManifestLevels && !folder.empty(); ++level) {
    if (const ManifestPtr manifest = manifest_in(folder)) return entries_below(*manifest, prefix);
    prefix = base_name(folder) + "/" + prefix;
    folder = parent_of(folder);
  }
  return std::nullopt;
}

bool WebFolders::has_one_of(const std::string& path, std::span<const char* const> names) const {
  return std::any_of(names.begin(), names.end(), [&](const char* name) {
    return access_.look(join_path(path, name)).kind == PathKind::kFile;
  });
}

bool WebFolders::is_folder(const std::string& path) const {
  if (is_named_like_a_file(path)) return false;
  if (const auto entries = list_by_manifest(path)) return !entries->empty();
  const std::string name = base_name(path);
  const auto known = std::find_if(kKnownFolders.begin(), kKnownFolders.end(),
                                  [&](const KnownFolder& folder) { return folder.name == name; });
  if (known != kKnownFolders.end() && has_one_of(path, known->files)) return true;
  if (has_one_of(path, kKnownFiles)) return true;
  if (known != kKnownFolders.end()) return false;
  return std::any_of(kKnownFolders.begin(), kKnownFolders.end(), [&](const KnownFolder& folder) {
    return has_one_of(join_path(path, folder.name), folder.files);
  });
}

std::vector<FolderEntry> WebFolders::list(const std::string& path) const {
  if (auto entries = list_by_manifest(path)) return *entries;
  std::vector<FolderEntry> entries;
  for (const char* name : kKnownFiles) {
    const RemoteFacts facts = access_.look(join_path(path, name));
    if (facts.kind == PathKind::kFile)
      entries.push_back({.name = name, .kind = PathKind::kFile, .size = facts.size});
  }
  for (const KnownFolder& folder : kKnownFolders) {
    if (has_one_of(join_path(path, folder.name), folder.files))
      entries.push_back({.name = folder.name, .kind = PathKind::kFolder});
  }
  return entries;
}

}  // namespace t2v::weights
