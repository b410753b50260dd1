#include "weights/storage.h"

#include <algorithm>
#include <mutex>
#include <string_view>

#include "core/check.h"
#include "weights/local_storage.h"
#include "weights/remote_storage.h"
#include "weights/web_folder.h"

namespace t2v::weights {
namespace {

// Where the query of a web address begins; the size when there is none.
size_t end_of_path(const std::string& path) noexcept {
  return is_web_path(path) ? std::min(path.find_first_of("?#"), path.size()) : path.size();
}

// One object for all schemes.
class EveryStorage final : public Storage {
 public:
  explicit EveryStorage(const StorageOptions& options)
      : options_(options), local_(open_local_storage(options.io)) {}

  [[nodiscard]] PathKind look(const std::string& path) const override {
    return storage_of(path).look(path);
  }
  [[nodiscard]] std::vector<FolderEntry> list(const std::string& folder) const override {
    return storage_of(folder).list(folder);
  }
  [[nodiscard]] std::shared_ptr<const ByteSource> open(const std::string& path,
                                                       ErrorKind kind) const override {
    return storage_of(path).open(path, kind);
  }

 private:
  [[nodiscard]] const Storage& storage_of(const std::string& path) const {
    if (!is_remote(path)) return *local_;
    const bool web = is_web_path(path);
    const std::lock_guard lock(mutex_);
    std::shared_ptr<const Storage>& storage = web ? web_ : s3_;
    if (!storage) storage = open_remote_storage(web ? "http" : "s3", options_);
    return *storage;
  }

  StorageOptions options_;
  std::shared_ptr<const Storage> local_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Storage> s3_;  // opened when first asked for
  mutable std::shared_ptr<const Storage> web_;
};

}  // namespace

Storage::~Storage() = default;

std::shared_ptr<const Storage> open_storage(const StorageOptions& options) {
  return std::make_shared<EveryStorage>(options);
}

std::string read_whole_file(const Storage& storage, const std::string& path, int64_t max_bytes,
                            ErrorKind kind) {
  const auto file = storage.open(path, kind);
  T2V_REQUIRE(file->size() <= max_bytes, kind, "file too large: it has ", file->size(),
              " bytes, at most ", max_bytes, " expected (", path, ")");
  std::string content(static_cast<size_t>(file->size()), '\0');
  file->read(0, std::as_writable_bytes(std::span(content)));
  return content;
}

std::string join_path(const std::string& folder, const std::string& name) {
  const size_t end = end_of_path(folder);
  const std::string path = folder.substr(0, end);
  const bool separated = path.empty() || path.ends_with('/');
  return path + (separated ? "" : "/") + name + folder.substr(end);
}

std::string base_name(const std::string& path) {
  std::string_view rest = std::string_view(path).substr(0, end_of_path(path));
  while (rest.ends_with('/')) rest.remove_suffix(1);
  return std::string(rest.substr(rest.rfind('/') + 1));
}

bool is_remote(const std::string& path) noexcept {
  return path.starts_with("s3://") || is_web_path(path);
}

}  // namespace t2v::weights
