// LibTorch's own profiler (Kineto) for traces: ATen's operations, and a device's kernels.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace t2v::pipeline {

// Recording ends between two steps when there are so many events; more are not kept.
inline constexpr size_t kMaxKinetoEvents = 300'000;

struct KinetoSpan {
  uint32_t name = 0;     // index of KinetoRecord::names
  int64_t begin_ns = 0;  // of the Unix clock
  int64_t end_ns = 0;
  int64_t thread = 0;  // of the CPU: the system's number; of a device: its queue
  int device = -1;     // -1: the CPU
};

struct KinetoRecord {
  std::vector<std::string> names;
  std::vector<KinetoSpan> spans;
  int64_t left_out = 0;
  std::optional<int64_t> ended_ns;  // there were too many: nothing was recorded behind this
};

// Records what this thread does while it lives, when wanted and when no other one does. At most one
// in a process at a time; others do nothing.
class KinetoWindow {
 public:
  KinetoWindow(bool wanted, c10::Device device, size_t max_events = kMaxKinetoEvents);
  KinetoWindow(const KinetoWindow&) = delete;
  KinetoWindow& operator=(const KinetoWindow&) = delete;
  ~KinetoWindow();

 private:
  bool open_ = false;
};

// Between two steps of the thread that has a window: what was recorded is taken, so that memory
// stays bounded. Nothing on other threads.
void kineto_boundary() noexcept;

// All windows so far.
[[nodiscard]] KinetoRecord kineto_record();

}  // namespace t2v::pipeline
