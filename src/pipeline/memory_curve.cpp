#include "pipeline/memory_curve.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "ops/device.h"
#include "pipeline/compute.h"

namespace t2v::pipeline {

void ThinnedCurve::add(const MemoryPoint& point) {
  if (!points_.empty() && point.ms - points_.back().ms < interval_ms_) {
    MemoryPoint& last = points_.back();
    last.device_bytes = std::max(last.device_bytes, point.device_bytes);
    last.host_bytes = std::max(last.host_bytes, point.host_bytes);
    return;
  }
  points_.push_back(point);
  if (points_.size() < max_points_) return;
  const double length = points_.back().ms - points_.front().ms;
  interval_ms_ = std::max(interval_ms_, length / static_cast<double>(points_.size())) * 2;
  const std::vector<MemoryPoint> all = std::exchange(points_, {});
  for (size_t i = 0; i < all.size(); i += 2) {
    const MemoryPoint& other = all[std::min(i + 1, all.size() - 1)];
    points_.push_back({.ms = all[i].ms,
                       .device_bytes = std::max(all[i].device_bytes, other.device_bytes),
                       .host_bytes = std::max(all[i].host_bytes, other.host_bytes)});
  }
}

struct MemoryCurve::Watched {
  Watched(c10::Device its_device, std::function<double()> its_time)
      : device(its_device), elapsed_ms(std::move(its_time)) {}

  void look() {
    const MemoryPoint point{.ms = elapsed_ms(),
                            .device_bytes = device.is_cpu() ? 0 : ops::device_bytes(device),
                            .host_bytes = current_host_bytes()};
    const std::lock_guard lock(mutex);
    curve.add(point);
  }

  c10::Device device;
  std::function<double()> elapsed_ms;
  std::mutex mutex;
  ThinnedCurve curve;  // under mutex
};

class MemoryCurve::Sampler {
 public:
  Sampler() : thread_([this] { work(); }) {}
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;
  ~Sampler() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  // The one of the process, while any curve holds it.
  static std::shared_ptr<Sampler> shared() {
    static std::mutex mutex;
    static std::weak_ptr<Sampler> instance;
    const std::lock_guard lock(mutex);
    auto sampler = instance.lock();
    if (!sampler) instance = sampler = std::make_shared<Sampler>();
    return sampler;
  }

  void watch(std::shared_ptr<Watched> curve) {
    const std::lock_guard lock(mutex_);
    curves_.push_back(std::move(curve));
  }
  // The curve is looked at no more when this returns.
  void leave(const std::shared_ptr<Watched>& curve) noexcept {
    const std::lock_guard lock(mutex_);
    std::erase(curves_, curve);
  }

 private:
  void work() noexcept {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      try {
        for (const auto& curve : curves_) curve->look();
      } catch (...) {  // a device that does not answer, no memory: the curve ends here
        curves_.clear();
      }
      wake_.wait_for(lock, std::chrono::duration<double, std::milli>(kMemoryIntervalMs));
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::vector<std::shared_ptr<Watched>> curves_;
  std::thread thread_;
};

MemoryCurve::MemoryCurve(c10::Device device, std::function<double()> elapsed_ms)
    : watched_(std::make_shared<Watched>(device, std::move(elapsed_ms))),
      sampler_(Sampler::shared()) {
  watched_->look();
  sampler_->watch(watched_);
}

MemoryCurve::~MemoryCurve() { sampler_->leave(watched_); }

std::vector<MemoryPoint> MemoryCurve::points() {
  try {
    watched_->look();
  } catch (...) {  // a device that does not answer: the curve ends before
  }
  const std::lock_guard lock(watched_->mutex);
  return watched_->curve.points();
}

}  // namespace t2v::pipeline
