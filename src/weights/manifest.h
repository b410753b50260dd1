// The list of a model's files with their sizes and SHA-256, t2v-manifest.json:
// {"version": 1, "files": [{"path": "vae/config.json", "bytes": 518, "sha256": "7d86..."}, ...]}
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace t2v::weights {

inline constexpr const char* kManifestName = "t2v-manifest.json";
inline constexpr int64_t kMaxManifestBytes = int64_t{16} << 20;

struct ManifestFile {
  std::string path;    // relative, plain names with '/' between them
  int64_t bytes = 0;   // size
  std::string sha256;  // 64 hexadecimal digits, lower case
};

struct Manifest {
  std::vector<ManifestFile> files;  // sorted by path, each path once
};

// Throws Error{kModel} naming `name` and the entry.
Manifest parse_manifest(std::string_view text, const std::string& name);
std::string manifest_text(const Manifest& manifest);

}  // namespace t2v::weights
