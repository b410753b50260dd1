#include "cli/disk_speed.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr size_t kBlockBytes = size_t{4} << 20;
constexpr size_t kAlignment = 4096;
constexpr int64_t kMinBytes = int64_t{64} << 10;
constexpr int64_t kMaxBytes = int64_t{1} << 30;
constexpr double kMaxSeconds = 1.0;
constexpr int kMaxEntries = 10000;  // a folder with more is not a model's

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

std::string largest_file(const std::string& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) return path;
  std::string largest;
  uintmax_t bytes = 0;
  int left = kMaxEntries;
  const auto options = fs::directory_options::skip_permission_denied |
                       fs::directory_options::follow_directory_symlink;
  for (fs::recursive_directory_iterator it(path, options, error), end; !error && it != end;
       it.increment(error)) {
    if (--left == 0) break;
    std::error_code ignored;
    if (!it->is_regular_file(ignored)) continue;
    const uintmax_t size = it->file_size(ignored);
    if (ignored || size <= bytes) continue;
    bytes = size;
    largest = it->path().string();
  }
  return largest;
}

void read_some(int fd, std::byte* buffer, ReadSpeed& speed) {
  const auto begin = Clock::now();
  while (speed.bytes < kMaxBytes && speed.seconds < kMaxSeconds) {
    const ssize_t got = ::pread(fd, buffer, kBlockBytes, speed.bytes);
    if (got <= 0) break;
    speed.bytes += got;
    speed.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  }
}

}  // namespace

ReadSpeed measure_read_speed(const std::string& path) noexcept {
  ReadSpeed speed;
  try {
    const std::string file = largest_file(path);
    std::error_code ignored;
    if (file.empty() || fs::file_size(file, ignored) < static_cast<uintmax_t>(kMinBytes))
      return speed;
    const std::unique_ptr<void, decltype(&std::free)> memory(
        std::aligned_alloc(kAlignment, kBlockBytes), &std::free);
    if (!memory) return speed;
    speed.file = file;
    auto* buffer = static_cast<std::byte*>(memory.get());
    {
      const Descriptor direct(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
      if (direct.get() >= 0) read_some(direct.get(), buffer, speed);
    }
    if (speed.bytes > 0) return speed;
    const Descriptor plain(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (plain.get() < 0) return {};
    speed.past_cache = ::posix_fadvise(plain.get(), 0, 0, POSIX_FADV_DONTNEED) == 0;
    read_some(plain.get(), buffer, speed);
    if (speed.bytes == 0) return {};
  } catch (...) {  // a folder that goes away while it is listed
    return {};
  }
  return speed;
}

}  // namespace t2v::cli
