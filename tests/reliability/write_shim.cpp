// Preloaded into t2v by test_system_calls.py: writes to files take only a part of what they are
// given.
//   T2V_SHORT_EVERY  every n-th write of more than one byte is cut
//   T2V_SHORT_PATH   part of the path of the files; all but devices and pipes without it
#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

std::string text_of(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool is_met(int fd) {
  static const std::string path = text_of("T2V_SHORT_PATH");
  static const long every = std::atol(text_of("T2V_SHORT_EVERY").c_str());
  static std::atomic<long> calls{0};
  struct stat status {};
  if (every <= 0 || ::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  std::array<char, 4096> name{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), name.data(), name.size());
  if (size <= 0) return false;
  const std::string_view full(name.data(), static_cast<size_t>(size));
  return full.find(path) != std::string_view::npos && ++calls % every == 0;
}

size_t part_of(int fd, size_t size) { return size > 1 && is_met(fd) ? size / 2 : size; }

ssize_t short_pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  using Pwrite = ssize_t (*)(int, const void*, size_t, off_t);
  static const auto real = reinterpret_cast<Pwrite>(::dlsym(RTLD_NEXT, "pwrite64"));
  return real(fd, bytes, part_of(fd, size), offset);
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  using Write = ssize_t (*)(int, const void*, size_t);
  static const auto real = reinterpret_cast<Write>(::dlsym(RTLD_NEXT, "write"));
  return real(fd, bytes, part_of(fd, size));
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return short_pwrite(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off_t offset) {
  return short_pwrite(fd, bytes, size, offset);
}
}
