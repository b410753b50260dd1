#include "weights/remote_storage.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <utility>

#include "core/check.h"
#include "core/module.h"
#include "weights/remote_file.h"
#include "weights/web_folder.h"

namespace t2v::weights {
namespace {

constexpr int kConnections = 8;

// "s3://bucket/folder/" is "s3://bucket/folder"; web servers tell the two apart.
std::string plain(std::string path) {
  if (path.starts_with("s3://")) {
    while (path.ends_with('/')) path.pop_back();
  }
  return path;
}

class RemoteStorage final : public Storage {
 public:
  RemoteStorage(std::shared_ptr<RemoteStore> store, const StorageOptions& options)
      : web_({.look = [this](const std::string& path) { return file_facts(path); },
              .read = [this](
                          const std::string& path,
                          int64_t max_bytes) { return read_whole_file(*this, path, max_bytes); }}) {
    const RetryPolicy policy{.timeout_seconds = options.timeout_seconds};
    access_.calls = std::make_shared<RemoteCalls>(std::move(store), policy);
    access_.pool = std::make_shared<ReadPool>(kConnections);
    if (!options.cache_dir.empty())
      access_.cache = std::make_shared<CacheStore>(options.cache_dir, options.cache_limit_bytes);
  }

  [[nodiscard]] PathKind look(const std::string& path) const override {
    return facts_of(plain(path)).kind;
  }

  [[nodiscard]] std::vector<FolderEntry> list(const std::string& folder) const override {
    const std::string path = plain(folder);
    std::vector<FolderEntry> entries =
        is_web_path(path) ? web_.list(path) : access_.calls->list(path, ErrorKind::kModel);
    std::sort(entries.begin(), entries.end(),
              [](const FolderEntry& a, const FolderEntry& b) { return a.name < b.name; });
    return entries;
  }

  [[nodiscard]] std::shared_ptr<const ByteSource> open(const std::string& path,
                                                       ErrorKind kind) const override {
    const RemoteFacts facts = facts_of(plain(path));
    T2V_REQUIRE(facts.kind != PathKind::kAbsent, kind, "cannot open file: it is not there (", path,
                ")");
    T2V_REQUIRE(facts.kind == PathKind::kFile, kind,
                "cannot read file: it is a folder, expected a file (", path, ")");
    return std::make_shared<RemoteFile>(plain(path), facts, access_, kind);
  }

 private:
  // Of files, and of folders where the store knows such a thing.
  [[nodiscard]] RemoteFacts file_facts(const std::string& path) const {
    {
      const std::lock_guard lock(mutex_);
      const auto found = facts_.find(path);
      if (found != facts_.end()) return found->second;
    }
    const RemoteFacts facts = access_.calls->look(path);
    const std::lock_guard lock(mutex_);
    return facts_.emplace(path, facts).first->second;
  }

  [[nodiscard]] RemoteFacts facts_of(const std::string& path) const {
    RemoteFacts facts = file_facts(path);
    if (facts.kind == PathKind::kAbsent && is_web_path(path) && web_.is_folder(path))
      facts.kind = PathKind::kFolder;
    return facts;
  }

  RemoteAccess access_;
  WebFolders web_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, RemoteFacts> facts_;
};

}  // namespace

std::shared_ptr<const Storage> make_remote_storage(std::shared_ptr<RemoteStore> store,
                                                   const StorageOptions& options) {
  return std::make_shared<RemoteStorage>(std::move(store), options);
}

std::shared_ptr<const Storage> open_remote_storage(const std::string& store_name,
                                                   const StorageOptions& options) {
  const std::string library = core::own_folder() + "/libt2v_" + store_name + ".so";
  std::error_code ignored;
  T2V_REQUIRE(std::filesystem::exists(library, ignored), ErrorKind::kRemote, "cannot read ",
              store_name, "://: this t2v was built without it (", library, ")");
  const auto open =
      reinterpret_cast<OpenRemoteStore>(core::load_module("t2v_" + store_name, kOpenRemoteStore));
  std::shared_ptr<RemoteStore> store(open({.timeout_seconds = options.timeout_seconds}));
  T2V_REQUIRE(store != nullptr, ErrorKind::kRemote, "cannot start the part that reads ", store_name,
              "://");
  return make_remote_storage(std::move(store), options);
}

}  // namespace t2v::weights
