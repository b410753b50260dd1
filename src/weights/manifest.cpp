#include "weights/manifest.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/escape.h"
#include "weights/checkpoint_files.h"

namespace t2v::weights {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 8;
constexpr size_t kMaxFiles = 100'000;

[[noreturn]] void refuse(const std::string& what, const std::string& name) {
  throw Error(ErrorKind::kModel, core::str("broken manifest: ", core::escape_control(what, 200),
                                           " (", name, "); try t2v verify --write-manifest"));
}

bool is_relative_path(std::string_view path) {
  while (true) {
    const size_t slash = path.find('/');
    if (!is_base_name(std::string(path.substr(0, slash)))) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

ManifestFile file_of(const Json& entry, const std::string& name) {
  if (!entry.is_object() || !entry.contains("path") || !entry["path"].is_string())
    refuse("an entry of 'files' has no path", name);
  ManifestFile file{.path = entry["path"].get<std::string>()};
  if (!is_relative_path(file.path)) refuse("path '" + file.path + "' is not a relative one", name);
  if (!entry.contains("bytes") || !entry["bytes"].is_number_unsigned() ||
      entry["bytes"].get<uint64_t>() > uint64_t{1} << 50)
    refuse("'" + file.path + "' has no size", name);
  file.bytes = entry["bytes"].get<int64_t>();
  if (!entry.contains("sha256") || !entry["sha256"].is_string())
    refuse("'" + file.path + "' has no sha256", name);
  file.sha256 = entry["sha256"].get<std::string>();
  if (!is_sha256(file.sha256)) refuse("'" + file.path + "' has an impossible sha256", name);
  return file;
}

Json parse_json(std::string_view text, const std::string& name) {
  const auto limit_depth = [&](int depth, Json::parse_event_t /*event*/, Json& /*value*/) {
    if (depth > kMaxDepth) refuse("it is nested too deeply", name);
    return true;
  };
  try {
    return Json::parse(text, limit_depth);
  } catch (const Json::exception&) {
    refuse("it is not JSON", name);
  }
}

}  // namespace

Manifest parse_manifest(std::string_view text, const std::string& name) {
  const Json json = parse_json(text, name);
  if (!json.is_object() || !json.contains("files") || !json["files"].is_array())
    refuse("it has no list 'files'", name);
  if (!json.contains("version") || json["version"] != 1) refuse("its version is not 1", name);
  if (json["files"].size() > kMaxFiles) refuse("it names too many files", name);
  Manifest manifest;
  for (const Json& entry : json["files"]) manifest.files.push_back(file_of(entry, name));
  const auto by_path = [](const ManifestFile& a, const ManifestFile& b) { return a.path < b.path; };
  std::sort(manifest.files.begin(), manifest.files.end(), by_path);
  const auto twice = std::adjacent_find(
      manifest.files.begin(), manifest.files.end(),
      [](const ManifestFile& a, const ManifestFile& b) { return a.path == b.path; });
  if (twice != manifest.files.end()) refuse("'" + twice->path + "' is named twice", name);
  return manifest;
}

std::string manifest_text(const Manifest& manifest) {
  Json files = Json::array();
  for (const ManifestFile& file : manifest.files)
    files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  return Json({{"version", 1}, {"files", std::move(files)}}).dump(1) + "\n";
}

}  // namespace t2v::weights
