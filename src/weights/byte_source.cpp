#include "weights/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/fault.h"

namespace t2v::weights {
namespace {

// Linux moves at most 0x7ffff000 bytes per call; a smaller limit keeps cancellation and counters
// lively.
constexpr size_t kMaxBytesPerCall = size_t{64} << 20;

[[noreturn]] void fail(ErrorKind kind, const char* what, int error, const std::string& path) {
  throw Error(kind, core::str("cannot ", what, " file: ", std::strerror(error), " (", path, ")"));
}

const char* describe(mode_t mode) noexcept {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "not a regular file";
}

void require_regular(mode_t mode, ErrorKind kind, const std::string& path) {
  T2V_REQUIRE(S_ISREG(mode), kind, "cannot read file: it is ", describe(mode),
              ", expected a regular file (", path, ")");
}

}  // namespace

ByteSource::~ByteSource() = default;

void ByteSource::read(int64_t offset, std::span<std::byte> out) const {
  T2V_FAULT("weights.read");
  const auto count = static_cast<int64_t>(out.size());
  T2V_REQUIRE(offset >= 0 && offset <= size() && count <= size() - offset, error_kind_,
              "cannot read bytes ", offset, " to ", offset + count, ": the file has ", size(), " (",
              name_, ")");
  if (out.empty()) return;
  read_range(offset, out);
  bytes_read_.fetch_add(count, std::memory_order_relaxed);
}

LocalFile::LocalFile(const std::string& path, ErrorKind error_kind) : ByteSource(path, error_kind) {
  struct stat status {};
  // Looked at before it is opened, because opening some devices has effects; and again after.
  if (::stat(path.c_str(), &status) != 0) fail(error_kind, "open", errno, path);
  require_regular(status.st_mode, error_kind, path);
  do {
    fd_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) fail(error_kind, "open", errno, path);
  const int result = ::fstat(fd_, &status);
  if (result != 0 || !S_ISREG(status.st_mode)) {
    const int error = errno;
    ::close(fd_);
    if (result != 0) fail(error_kind, "open", error, path);
    require_regular(status.st_mode, error_kind, path);
  }
  size_ = status.st_size;
}

LocalFile::~LocalFile() {
  if (fd_ >= 0) ::close(fd_);
}

void LocalFile::read_range(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t count = ::pread(fd_, out.data(), std::min(out.size(), kMaxBytesPerCall), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(error_kind(), "read", errno, name());
    T2V_REQUIRE(count > 0, error_kind(), "cannot read file: it ended at byte ", offset,
                " while it was read; did it change? (", name(), ")");
    offset += count;
    out = out.subspan(static_cast<size_t>(count));
  }
}

std::string read_whole_file(const std::string& path, int64_t max_bytes, ErrorKind error_kind) {
  const LocalFile file(path, error_kind);
  T2V_REQUIRE(file.size() <= max_bytes, error_kind, "file too large: it has ", file.size(),
              " bytes, at most ", max_bytes, " expected (", path, ")");
  std::string content(static_cast<size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(content)));
  return content;
}

}  // namespace t2v::weights
