// Preloaded into t2v by test_read_faults.py: reads of chosen files fail or come short.
//   T2V_FAULT_PATH  part of the path of the files
//   T2V_FAULT_KIND  eio, eintr or short
//   T2V_FAULT_NTH   the first call that is met, from 1 on
//   T2V_FAULT_TIMES how many calls from there on (1)
#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using Pread = ssize_t (*)(int, void*, size_t, off_t);

struct Plan {
  std::string path, kind;
  long nth = 0, times = 1;
};

const Plan& plan() {
  static const Plan read = [] {
    const auto text = [](const char* name) {
      const char* value = std::getenv(name);
      return std::string(value != nullptr ? value : "");
    };
    Plan made{text("T2V_FAULT_PATH"), text("T2V_FAULT_KIND")};
    made.nth = std::atol(text("T2V_FAULT_NTH").c_str());
    if (const std::string times = text("T2V_FAULT_TIMES"); !times.empty())
      made.times = std::atol(times.c_str());
    return made;
  }();
  return read;
}

bool is_met(int fd) {
  static std::atomic<long> calls{0};
  if (plan().path.empty()) return false;
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), path.data(), path.size());
  if (size <= 0) return false;
  const std::string_view name(path.data(), static_cast<size_t>(size));
  if (name.find(plan().path) == std::string_view::npos) return false;
  const long call = ++calls;
  return call >= plan().nth && call < plan().nth + plan().times;
}

ssize_t broken_pread(int fd, void* out, size_t size, off_t offset) {
  static const auto real = reinterpret_cast<Pread>(::dlsym(RTLD_NEXT, "pread64"));
  if (!is_met(fd)) return real(fd, out, size, offset);
  if (plan().kind == "short") return real(fd, out, size / 2 + 1, offset);
  errno = plan().kind == "eintr" ? EINTR : EIO;
  return -1;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) ssize_t pread(int fd, void* out, size_t size,
                                                                off_t offset) {
  return broken_pread(fd, out, size, offset);
}
extern "C" __attribute__((visibility("default"))) ssize_t pread64(int fd, void* out, size_t size,
                                                                  off_t offset) {
  return broken_pread(fd, out, size, offset);
}
