#include "weights/cache_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/log.h"

namespace t2v::weights {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPart = ".part-";

// flock on the folder's lock file; gone with the process, however it ends.
class FolderLock {
 public:
  explicit FolderLock(int fd) : fd_(fd) {
    while (::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() { ::flock(fd_, LOCK_UN); }

  // -1 when the number is not there or makes no sense.
  [[nodiscard]] int64_t in_use() const noexcept {
    int64_t bytes = -1;
    return ::pread(fd_, &bytes, sizeof bytes, 0) == sizeof bytes && bytes >= 0 ? bytes : -1;
  }
  void set_in_use(int64_t bytes) const noexcept {
    if (::pwrite(fd_, &bytes, sizeof bytes, 0) != sizeof bytes) ::ftruncate(fd_, 0);
  }

 private:
  int fd_;
};

struct CachedFile {
  struct timespec used;
  int64_t bytes;
  std::string path;
};

bool older(const CachedFile& a, const CachedFile& b) noexcept {
  return a.used.tv_sec != b.used.tv_sec ? a.used.tv_sec < b.used.tv_sec
                                        : a.used.tv_nsec < b.used.tv_nsec;
}

// Writers hold a lock on their temporary files, so one without is of a process that was killed.
bool is_abandoned(const std::string& path) noexcept {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (fd < 0) return false;
  const bool free = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
  ::close(fd);
  return free;
}

// All block files; `parts` gets the bytes of those that are being written.
std::vector<CachedFile> scan(const std::string& folder, int64_t& parts) {
  std::vector<CachedFile> files;
  std::error_code error;
  fs::recursive_directory_iterator next(folder, fs::directory_options::skip_permission_denied,
                                        error);
  for (; !error && next != fs::recursive_directory_iterator(); next.increment(error)) {
    struct stat status {};
    const std::string path = next->path().string();
    if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (!next->path().filename().string().starts_with(kPart)) {
      files.push_back({status.st_mtim, status.st_size, path});
    } else if (is_abandoned(path)) {
      ::unlink(path.c_str());
    } else {
      parts += status.st_size;
    }
  }
  return files;
}

}  // namespace

CacheStore::CacheStore(std::string folder, int64_t limit_bytes)
    : folder_(std::move(folder)), limit_bytes_(limit_bytes) {
  std::error_code error;
  fs::create_directories(fs::path(folder_) / "blocks", error);
  if (error) {
    give_up("make", error.value());
    return;
  }
  const std::string lock = (fs::path(folder_) / "lock").string();
  lock_fd_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0600);
  if (lock_fd_ < 0) give_up("open", errno);
}

CacheStore::~CacheStore() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

void CacheStore::give_up(const std::string& what, int error) noexcept {
  if (!usable_.exchange(false)) return;
  try {
    core::log(core::LogLevel::kWarn,
              core::str("cannot ", what, " the cache: ", std::strerror(error), " (", folder_,
                        "); going on without it, try another --cache-dir"));
  } catch (...) {  // a message that cannot be made is not told
    return;
  }
}

std::string CacheStore::path_of(const CacheKey& key) const {
  const std::string name = cache_name(key);
  return (fs::path(folder_) / "blocks" / name.substr(0, 2) / name).string();
}

bool CacheStore::load(const CacheKey& key, std::span<std::byte> out) noexcept {
  try {
    if (lock_fd_ < 0 || !can_be_cached(key)) return false;
    const std::string path = path_of(key);
    const BlockRead read = read_cache_block(path, key, out);
    if (read == BlockRead::kBroken) {
      core::log(core::LogLevel::kInfo, core::str("cache: a broken block is dropped (", path, ")"));
      ::unlink(path.c_str());  // what is in use is counted again when room is needed
    }
    return read == BlockRead::kHit;
  } catch (...) {
    return false;
  }
}

void CacheStore::store(const CacheKey& key, std::span<const std::byte> bytes) noexcept {
  if (!usable_ || !can_be_cached(key)) return;
  try {
    const std::string path = path_of(key);
    if (::access(path.c_str(), F_OK) == 0) return;  // another process was quicker
    std::string temporary;
    const int fd = reserve(key, temporary);
    if (fd < 0) return;
    int error = write_cache_block(fd, key, bytes);
    if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
    ::close(fd);
    if (error == 0) return;
    ::unlink(temporary.c_str());
    give_up("write to", error);
  } catch (...) {
    give_up("write to", ENOMEM);
  }
}

int CacheStore::reserve(const CacheKey& key, std::string& temporary) {
  const int64_t needed = cached_bytes(key);
  if (limit_bytes_ > 0 && needed > limit_bytes_) return -1;
  const std::lock_guard threads(mutex_);
  const FolderLock processes(lock_fd_);
  int64_t in_use = processes.in_use();
  if (in_use < 0 || (limit_bytes_ > 0 && in_use + needed > limit_bytes_)) {
    in_use = make_room(in_use, needed);
    processes.set_in_use(in_use);
    if (limit_bytes_ > 0 && in_use + needed > limit_bytes_) return -1;
  }
  // Counted before it is there: a process that is killed in between leaves the number too large,
  // and the next scan corrects it.
  processes.set_in_use(in_use + needed);
  return create_part(key, temporary);
}

int64_t CacheStore::make_room(int64_t in_use, int64_t needed) {
  int64_t parts = 0;
  std::vector<CachedFile> files = scan((fs::path(folder_) / "blocks").string(), parts);
  in_use = parts;
  for (const CachedFile& file : files) in_use += file.bytes;
  if (limit_bytes_ == 0 || in_use + needed <= limit_bytes_) return in_use;
  // A little more than is needed, so that the next block does not need a scan again.
  const int64_t target = limit_bytes_ - limit_bytes_ / 20 - needed;
  std::sort(files.begin(), files.end(), &older);
  for (const CachedFile& file : files) {
    if (in_use <= target) break;
    if (::unlink(file.path.c_str()) == 0 || errno == ENOENT) in_use -= file.bytes;
  }
  return in_use;
}

int CacheStore::create_part(const CacheKey& key, std::string& temporary) {
  static std::atomic<unsigned> counter{0};
  const fs::path path = path_of(key);
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) {
    give_up("write to", error.value());
    return -1;
  }
  temporary = (path.parent_path() / core::str(kPart, ::getpid(), "-", counter++)).string();
  ::unlink(temporary.c_str());  // of a process of the same number, long ago
  const int fd = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    give_up("write to", errno);
    return -1;
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 || ::ftruncate(fd, cached_bytes(key)) != 0) {
    give_up("write to", errno);
    ::close(fd);
    ::unlink(temporary.c_str());
    return -1;
  }
  return fd;
}

}  // namespace t2v::weights
