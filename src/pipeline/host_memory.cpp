// What this process takes of the host's memory, and what it may take: the machine, control groups,
// the limit of its address space.
#include <ATen/Parallel.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>

#include "pipeline/compute.h"

namespace t2v::pipeline {
namespace {

// Measured: what is mapped beside what is resident grows by this with the work, and with each
// thread (its stack and its share of the heap).
constexpr int64_t kMappedBytes = int64_t{64} << 20;
constexpr int64_t kMappedBytesOfThread = int64_t{80} << 20;
constexpr int64_t kLeast = int64_t{1} << 20;  // 0 would mean "not known"

struct Size {
  int64_t mapped = 0;
  int64_t resident = 0;
};

Size current_size() {
  std::ifstream file("/proc/self/statm");
  Size pages;
  file >> pages.mapped >> pages.resident;
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  return {pages.mapped * page, pages.resident * page};
}

// "MemAvailable" of the system; 0 when it does not tell.
int64_t machine_available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  int64_t kib = 0;
  std::string unit;
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

// The smallest limit of a group and of those that hold it; a missing or unlimited one says nothing.
int64_t limit_above(const std::string& root, std::string group, const char* file_name) {
  int64_t smallest = std::numeric_limits<int64_t>::max();
  for (;;) {
    std::ifstream file(root + group + "/" + file_name);
    int64_t limit = 0;
    if (file >> limit && limit > 0) smallest = std::min(smallest, limit);
    const size_t cut = group.rfind('/');
    if (cut == std::string::npos) return smallest;
    group.resize(cut);
  }
}

bool names_memory(std::string_view controllers) {
  for (;;) {
    const size_t comma = controllers.find(',');
    if (controllers.substr(0, comma) == "memory") return true;
    if (comma == std::string_view::npos) return false;
    controllers.remove_prefix(comma + 1);
  }
}

// Of both versions. Lines of the file are "number:controllers:/group"; version 2 names none.
int64_t control_group_bytes() {
  const std::string version_1 = "/sys/fs/cgroup/memory";
  const std::string version_2 = "/sys/fs/cgroup";
  int64_t smallest = std::min(limit_above(version_2, "", "memory.max"),
                              limit_above(version_1, "", "memory.limit_in_bytes"));
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      smallest = std::min(smallest, limit_above(version_2, group, "memory.max"));
    } else if (names_memory(controllers)) {
      smallest = std::min(smallest, limit_above(version_1, group, "memory.limit_in_bytes"));
    }
  }
  return smallest;
}

// Of resident memory, within RLIMIT_AS: libraries map more than they touch.
int64_t address_space_bytes(const Size& size) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
      limit.rlim_cur > static_cast<rlim_t>(std::numeric_limits<int64_t>::max()))
    return std::numeric_limits<int64_t>::max();
  const int64_t untouched = size.mapped - size.resident + kMappedBytes +
                            kMappedBytesOfThread * int64_t{at::get_num_threads()};
  return std::max(kLeast, static_cast<int64_t>(limit.rlim_cur) - untouched);
}

}  // namespace

int64_t peak_host_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

int64_t current_host_bytes() { return current_size().resident; }

int64_t available_host_bytes() {
  const Size size = current_size();
  const int64_t machine = machine_available_bytes();
  const int64_t limit = std::min(control_group_bytes(), address_space_bytes(size));
  if (machine == 0) return limit == std::numeric_limits<int64_t>::max() ? 0 : limit;
  return std::min(machine + size.resident, limit);
}

void trim_host_memory() { ::malloc_trim(0); }

}  // namespace t2v::pipeline
