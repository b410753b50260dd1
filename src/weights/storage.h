// Where model files lie: local folders, object stores, web servers. One object serves all paths;
// the scheme of a path ("s3://", "https://", none) decides.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "t2v/error.h"
#include "weights/byte_source.h"

namespace t2v::weights {

enum class PathKind { kAbsent, kFile, kFolder, kOther };

struct FolderEntry {
  std::string name;  // base name
  PathKind kind = PathKind::kFile;
  int64_t size = 0;  // bytes, of files
};

// How files are read and where remote ones are kept.
struct StorageOptions {
  std::string cache_dir;          // of remote models; "" = no cache
  int64_t cache_limit_bytes = 0;  // 0 = no limit
  std::string io;                 // "", "pread" or "uring" (T2V_IO); "" chooses
  double timeout_seconds = 30;    // of one remote request (T2V_REMOTE_TIMEOUT)
};

// Const members may be called from several threads at once.
class Storage {
 public:
  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  virtual ~Storage();

  // Links are followed. Throws Error{kModel, kRemote} for anything but an answer (no permission, a
  // link to itself).
  [[nodiscard]] virtual PathKind look(const std::string& path) const = 0;
  // Sorted by name; a link that leads nowhere is kAbsent. Throws Error{kModel, kRemote}.
  [[nodiscard]] virtual std::vector<FolderEntry> list(const std::string& folder) const = 0;
  // Refuses anything but regular files. Throws Error{kind} (kRemote for remote failures).
  [[nodiscard]] virtual std::shared_ptr<const ByteSource> open(
      const std::string& path, ErrorKind kind = ErrorKind::kModel) const = 0;
};

// Throws Error{kUsage} for an unknown `io`. Remote parts are loaded when a path asks for them.
std::shared_ptr<const Storage> open_storage(const StorageOptions& options = {});

// The whole content of a file; refuses files over max_bytes. Throws Error{kind} (kRemote).
std::string read_whole_file(const Storage& storage, const std::string& path, int64_t max_bytes,
                            ErrorKind kind = ErrorKind::kModel);

// folder + "/" + name, for every scheme. A query of a web address ("?...") stays at the end.
std::string join_path(const std::string& folder, const std::string& name);
// What stands behind the last separator; separators at the end and queries do not count.
std::string base_name(const std::string& path);
// Whether the path has a scheme of a remote store.
bool is_remote(const std::string& path) noexcept;

}  // namespace t2v::weights
