// Repeats a piece of work and prints the medians as one JSON line. For benchmark programs only.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

namespace t2v::bench {

// User and system seconds of this process so far.
inline double cpu_seconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

inline double peak_rss_gb() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e9;
}

struct Times {
  double cpu = 0;   // seconds
  double wall = 0;  // seconds
};

inline Times time_once(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const double cpu_begin = cpu_seconds();
  const auto wall_begin = Clock::now();
  work();
  return {.cpu = cpu_seconds() - cpu_begin,
          .wall = std::chrono::duration<double>(Clock::now() - wall_begin).count()};
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// One warm-up, then medians over the repeats. flop: of one pass; 0 = not counted.
inline void measure(const char* name, int repeats, double flop, const std::function<void()>& work) {
  work();
  std::vector<double> cpu;
  std::vector<double> wall;
  for (int i = 0; i < repeats; ++i) {
    const Times times = time_once(work);
    cpu.push_back(times.cpu);
    wall.push_back(times.wall);
  }
  const double c = median(cpu);
  std::printf(
      "{\"name\": \"%s\", \"cpu_s\": %.4f, \"wall_s\": %.4f, \"tflop\": %.4f, \"gflop_per_cpu_s\": "
      "%.1f}\n",
      name, c, median(wall), flop / 1e12, flop / c / 1e9);
  std::fflush(stdout);
}

}  // namespace t2v::bench
