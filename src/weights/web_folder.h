// What a folder of a web server holds. Web servers have no listing: a manifest (t2v-manifest.json)
// in the folder or above it tells, else the names that models have are tried one by one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weights/manifest.h"
#include "weights/remote_store.h"

namespace t2v::weights {

bool is_web_path(const std::string& path) noexcept;

// Members may be called from several threads at once.
class WebFolders {
 public:
  struct Access {
    std::function<RemoteFacts(const std::string& path)> look;  // of files; folders may be absent
    std::function<std::string(const std::string& path, int64_t max_bytes)> read;
  };
  explicit WebFolders(Access access) : access_(std::move(access)) {}

  // Whether something of a model lies in it. Throws Error{kRemote, kModel}.
  [[nodiscard]] bool is_folder(const std::string& path) const;
  [[nodiscard]] std::vector<FolderEntry> list(const std::string& path) const;

 private:
  using ManifestPtr = std::shared_ptr<const Manifest>;
  // Null when there is none.
  [[nodiscard]] ManifestPtr manifest_in(const std::string& folder) const;
  [[nodiscard]] std::optional<std::vector<FolderEntry>> list_by_manifest(
      const std::string& path) const;
  [[nodiscard]] bool has_one_of(const std::string& path, std::span<const char* const> names) const;

  Access access_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, ManifestPtr> manifests_;  // by folder
};

}  // namespace t2v::weights
