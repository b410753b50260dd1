#include "core/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "core/check.h"
#include "core/fault.h"

namespace t2v::core {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail(const std::string& path, const char* what, int error) {
  const char* advice = error == ENOSPC || error == EDQUOT  ? "; try another disk or free some space"
                       : error == EACCES || error == EROFS ? "; try a folder you can write to"
                                                           : "";
  throw Error(ErrorKind::kOutput,
              str("cannot ", what, " output: ", std::strerror(error), " ('", path, "')", advice));
}

std::string folder_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// Directory entries need their own fsync; file systems that cannot do it are left alone.
void sync_path(const std::string& path, const std::string& shown) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(shown, "open", errno);
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (result != 0 && error != EINVAL && error != ENOTSUP) fail(shown, "save", error);
}

// "<folder>/<begin><process>-<number><end>".
struct TemporaryName {
  explicit TemporaryName(const std::string& path) {
    const fs::path full(path);
    fs::path name = full.filename();
    if (name.empty()) name = full.parent_path().filename();
    folder = full.filename().empty() ? full.parent_path().parent_path() : full.parent_path();
    // NAME_MAX is 255 bytes: a long name is cut so that the decorated one still fits.
    begin = str(".", name.stem().string().substr(0, 180), ".");
    end = str(".part", name.extension().string().substr(0, 32));
  }
  // 0: not such a name.
  [[nodiscard]] pid_t owner_of(std::string_view name) const {
    if (name.size() <= begin.size() + end.size() || !name.starts_with(begin) ||
        !name.ends_with(end))
      return 0;
    name = name.substr(begin.size(), name.size() - begin.size() - end.size());
    pid_t process = 0;
    unsigned number = 0;
    const char* const last = name.data() + name.size();
    const auto first = std::from_chars(name.data(), last, process);
    if (first.ec != std::errc() || first.ptr == last || *first.ptr != '-') return 0;
    const auto second = std::from_chars(first.ptr + 1, last, number);
    return second.ec == std::errc() && second.ptr == last ? process : 0;
  }

  fs::path folder;
  std::string begin, end;
};

}  // namespace

std::string temporary_name_for(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  const TemporaryName name(path);
  return (name.folder / str(name.begin, ::getpid(), "-", counter.fetch_add(1), name.end)).string();
}

void remove_abandoned(const std::string& path) noexcept {
  try {
    const TemporaryName name(path);
    std::error_code ignored;
    const fs::path folder = name.folder.empty() ? "." : name.folder;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      const pid_t owner = name.owner_of(entry.path().filename().string());
      if (owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH) remove_quietly(entry.path());
    }
  } catch (...) {  // what cannot be looked at stays
    return;
  }
}

void commit_file(const std::string& temporary, const std::string& path) {
  T2V_FAULT("sink.commit");
  sync_path(temporary, path);
  std::error_code ignored;
  // rename cannot replace a folder that holds files: move the old one away first.
  std::string old;
  if (fs::is_directory(temporary, ignored) && fs::is_directory(path, ignored)) {
    old = temporary_name_for(path);
    if (::rename(path.c_str(), old.c_str()) != 0) fail(path, "replace", errno);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    if (!old.empty() && ::rename(old.c_str(), path.c_str()) != 0) fail(old, "put back", errno);
    fail(path, "rename", error);
  }
  if (!old.empty()) remove_quietly(old);
  sync_path(folder_of(path), path);
}

int write_fully_at(int fd, const void* bytes, size_t size, int64_t offset) noexcept {
  const char* next = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::pwrite(fd, next, size, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : EIO;
    next += written;
    offset += written;
    size -= static_cast<size_t>(written);
  }
  return 0;
}

void remove_quietly(const std::string& path) noexcept {
  if (path.empty()) return;
  try {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  } catch (...) {  // nothing can be done about a file that cannot be removed
    return;
  }
}

void require_writable(const std::string& path, const std::string& flag) {
  T2V_REQUIRE(path.find('\0') == std::string::npos, ErrorKind::kUsage, flag,
              " contains a NUL byte");
  const std::string folder = folder_of(path);
  struct stat status {};
  T2V_REQUIRE(::stat(folder.c_str(), &status) == 0, ErrorKind::kOutput,
              "cannot write output: folder '", folder, "' does not exist (", flag,
              "); try: mkdir -p '", folder, "'");
  T2V_REQUIRE(S_ISDIR(status.st_mode), ErrorKind::kOutput, "cannot write output: '", folder,
              "' is not a folder (", flag, ")");
  T2V_REQUIRE(::access(folder.c_str(), W_OK | X_OK) == 0, ErrorKind::kOutput,
              "cannot write output: folder '", folder, "' is not writable: ", std::strerror(errno),
              " (", flag, ")");
}

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_(temporary_name_for(path_)) {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) fail(path_, "create", errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    remove_quietly(temporary_);
  }
}

void AtomicFile::write(const void* bytes, size_t size) {
  T2V_FAULT("sink.write");
  const char* next = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::write(fd_, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(path_, "write", written < 0 ? errno : EIO);
    next += written;
    size -= static_cast<size_t>(written);
  }
}

void AtomicFile::write_at(const void* bytes, size_t size, int64_t offset) {
  const int error = write_fully_at(fd_, bytes, size, offset);
  if (error != 0) fail(path_, "write", error);
}

void AtomicFile::commit() {
  T2V_ASSERT(fd_ >= 0);
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0) {
    const int error = errno;
    remove_quietly(temporary_);
    fail(path_, "close", error);
  }
  try {
    commit_file(temporary_, path_);
  } catch (...) {
    remove_quietly(temporary_);
    throw;
  }
}

}  // namespace t2v::core
