// How fast files can be read from the disk itself, past what the system keeps in memory.
#pragma once

#include <cstdint>
#include <string>

namespace t2v::cli {

struct ReadSpeed {
  std::string file;   // that was read; "" = none that is large enough
  int64_t bytes = 0;  // read
  double seconds = 0;
  bool past_cache = true;  // false: the file system offers no way around memory

  [[nodiscard]] double gb_per_s() const {
    return seconds > 0 ? static_cast<double>(bytes) / 1e9 / seconds : 0;
  }
};

// Reads the largest file below `path` (a folder or a file) for a second or so. Never throws: what
// cannot be read counts as not there.
ReadSpeed measure_read_speed(const std::string& path) noexcept;

}  // namespace t2v::cli
