#include "weights/local_storage.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "weights/uring_file.h"

namespace t2v::weights {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxEntries = 100'000;  // of one folder; a model has fewer than 200

PathKind kind_of(mode_t mode) noexcept {
  if (S_ISREG(mode)) return PathKind::kFile;
  return S_ISDIR(mode) ? PathKind::kFolder : PathKind::kOther;
}

// A listing shows what cannot be followed instead of failing.
FolderEntry entry_of(const std::string& folder, std::string name) {
  struct stat status {};
  FolderEntry entry{.name = std::move(name)};
  if (::stat((fs::path(folder) / entry.name).c_str(), &status) != 0) {
    entry.kind = errno == ENOENT ? PathKind::kAbsent : PathKind::kOther;
  } else {
    entry.kind = kind_of(status.st_mode);
    entry.size = entry.kind == PathKind::kFile ? status.st_size : 0;
  }
  return entry;
}

class LocalStorage final : public Storage {
 public:
  // pread unless io_uring is asked for: it is as quick, and its reads come from the page cache when
  // they are there (docs/benchmarks.md).
  explicit LocalStorage(const std::string& io) {
    if (io != "uring") return;
    std::string reason;
    rings_ = open_uring_pool(reason);
    if (!rings_)
      core::log(core::LogLevel::kWarn, core::str("T2V_IO=uring: io_uring cannot be used here: ",
                                                 reason, "; reading with pread"));
  }

  [[nodiscard]] PathKind look(const std::string& path) const override {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0) return kind_of(status.st_mode);
    const int error = errno;
    T2V_REQUIRE(error == ENOENT || error == ENOTDIR, ErrorKind::kModel,
                "cannot open model: ", std::strerror(error), " (", path, ")");
    return PathKind::kAbsent;
  }

  [[nodiscard]] std::vector<FolderEntry> list(const std::string& folder) const override {
    std::vector<FolderEntry> entries;
    std::error_code error;
    fs::directory_iterator next(folder, error);
    for (; !error && next != fs::directory_iterator(); next.increment(error)) {
      T2V_REQUIRE(entries.size() < kMaxEntries, ErrorKind::kModel,
                  "cannot read folder: it has more than ", kMaxEntries, " entries (", folder,
                  "); is this a model?");
      entries.push_back(entry_of(folder, next->path().filename().string()));
    }
    T2V_REQUIRE(!error, ErrorKind::kModel, "cannot read folder: ", error.message(), " (", folder,
                ")");
    std::sort(entries.begin(), entries.end(),
              [](const FolderEntry& a, const FolderEntry& b) { return a.name < b.name; });
    return entries;
  }

  [[nodiscard]] std::shared_ptr<const ByteSource> open(const std::string& path,
                                                       ErrorKind kind) const override {
    if (rings_) return std::make_shared<UringFile>(path, rings_, kind);
    return std::make_shared<LocalFile>(path, kind);
  }

 private:
  std::shared_ptr<UringPool> rings_;  // null: pread
};

}  // namespace

std::shared_ptr<const Storage> open_local_storage(const std::string& io) {
  T2V_REQUIRE(io.empty() || io == "pread" || io == "uring", ErrorKind::kUsage,
              "T2V_IO: unknown way to read '", io, "', expected pread or uring (environment)");
  return std::make_shared<LocalStorage>(io);
}

}  // namespace t2v::weights
