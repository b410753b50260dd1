#include "ops/copy_lane.h"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <mutex>

namespace t2v::ops {

// Through LibTorch's device-independent interface, so that no CUDA library is needed to build it.
struct CopyLane::Queue {
  explicit Queue(c10::Device its_device)
      : device(its_device),
        guard(its_device.type()),
        lane(guard.getStreamFromGlobalPool(its_device)) {}

  c10::Device device;
  c10::impl::VirtualGuardImpl guard;
  c10::Stream lane;
  std::mutex mutex;                      // of `computed`
  std::unique_ptr<c10::Event> computed;  // all that was queued when follow_compute was called
};

CopyLane::CopyLane(c10::Device device) {
  if (!device.is_cpu()) queue_ = std::make_unique<Queue>(device);
}

CopyLane::~CopyLane() = default;

void CopyLane::follow_compute() {
  if (!queue_) return;
  auto event = std::make_unique<c10::Event>(queue_->device.type());
  event->record(queue_->guard.getStream(queue_->device));
  const std::lock_guard lock(queue_->mutex);
  queue_->computed = std::move(event);
}

void CopyLane::run(const std::function<void()>& work) {
  if (!queue_) return work();
  const c10::StreamGuard on_lane(queue_->lane);
  {
    const std::lock_guard lock(queue_->mutex);
    if (queue_->computed) queue_->computed->block(queue_->lane);
  }
  work();
  c10::Event done(queue_->device.type());
  done.record(queue_->lane);
  done.synchronize();
}

}  // namespace t2v::ops
