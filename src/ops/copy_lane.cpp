#include "ops/copy_lane.h"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace t2v::ops {
namespace {

struct GivenUp {
  std::unique_ptr<c10::Event> computed;
  std::shared_ptr<const void> object;
};

struct Before {
  bool operator()(c10::Device a, c10::Device b) const { return a.index() < b.index(); }
};

}  // namespace

// Through LibTorch's device-independent interface, so that no CUDA library is needed to build it.
struct CopyLane::Queue {
  explicit Queue(c10::Device its_device)
      : device(its_device),
        guard(its_device.type()),
        lane(guard.getStreamFromGlobalPool(its_device)) {}

  // When all that is queued for computing by now is done.
  [[nodiscard]] std::unique_ptr<c10::Event> all_computed() const {
    auto event = std::make_unique<c10::Event>(device.type());
    event->record(guard.getStream(device));
    return event;
  }
  [[nodiscard]] std::vector<GivenUp> take_given_up() {
    const std::lock_guard lock(mutex);
    return std::exchange(given_up, {});
  }

  c10::Device device;
  c10::impl::VirtualGuardImpl guard;
  c10::Stream lane;
  std::mutex mutex;
  std::vector<GivenUp> given_up;  // under mutex
};

CopyLane::CopyLane(c10::Device device) {
  if (device.is_cpu()) return;
  static std::mutex mutex;
  // Never destroyed: at the end of the process the device's libraries may be gone before.
  static auto* const queues = new std::map<c10::Device, std::unique_ptr<Queue>, Before>;
  const std::lock_guard lock(mutex);
  auto& queue = (*queues)[device];
  if (!queue) queue = std::make_unique<Queue>(device);
  queue_ = queue.get();
}

void CopyLane::give_up(std::shared_ptr<const void> object) {
  if (!queue_ || !object) return;
  GivenUp given_up{queue_->all_computed(), std::move(object)};
  const std::lock_guard lock(queue_->mutex);
  queue_->given_up.push_back(std::move(given_up));
}

void CopyLane::settle() noexcept {
  if (!queue_) return;
  try {
    const std::vector<GivenUp> given_up = queue_->take_given_up();
    queue_->all_computed()->synchronize();
  } catch (...) {  // a device that has failed computes no more
  }
}

void CopyLane::run(const std::function<void()>& work) {
  if (!queue_) return work();
  const c10::StreamGuard on_lane(queue_->lane);
  for (const GivenUp& given_up : queue_->take_given_up()) given_up.computed->block(queue_->lane);
  work();
  c10::Event done(queue_->device.type());
  done.record(queue_->lane);
  done.synchronize();
}

}  // namespace t2v::ops
