// How much memory a run takes over time, looked at now and then by a thread of its own: --profile.
#pragma once

#include <c10/core/Device.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "t2v/engine.h"

namespace t2v::pipeline {

inline constexpr size_t kMaxMemoryPoints = 2000;
inline constexpr double kMemoryIntervalMs = 25;

// Points no closer than an interval. When there are too many, each two become one, which keeps the
// larger numbers, and the interval doubles.
class ThinnedCurve {
 public:
  explicit ThinnedCurve(size_t max_points = kMaxMemoryPoints) : max_points_(max_points) {}
  void add(const MemoryPoint& point);
  [[nodiscard]] const std::vector<MemoryPoint>& points() const noexcept { return points_; }

 private:
  size_t max_points_;
  double interval_ms_ = 0;
  std::vector<MemoryPoint> points_;
};

// From its construction on. One thread serves all curves of a process.
class MemoryCurve {
 public:
  // elapsed_ms: the time that points carry; called from the other thread.
  MemoryCurve(c10::Device device, std::function<double()> elapsed_ms);
  MemoryCurve(const MemoryCurve&) = delete;
  MemoryCurve& operator=(const MemoryCurve&) = delete;
  ~MemoryCurve();

  // So far, the last point being of now.
  [[nodiscard]] std::vector<MemoryPoint> points();

 private:
  struct Watched;
  class Sampler;
  std::shared_ptr<Watched> watched_;
  std::shared_ptr<Sampler> sampler_;
};

}  // namespace t2v::pipeline
