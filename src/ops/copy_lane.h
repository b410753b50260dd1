// A queue of a device beside the one that computes: weights come in on it while blocks run. All
// lanes of a device are one queue, so that what one model part gives up is room for the next
// (LibTorch's allocator keeps memory by queue). On the CPU, where there is one queue only, nothing
// happens.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace t2v::ops {

class CopyLane {
 public:
  explicit CopyLane(c10::Device device);
  CopyLane(const CopyLane&) = delete;
  CopyLane& operator=(const CopyLane&) = delete;

  // Called where the computation is queued: `object`, which owns memory that work on a lane has
  // allocated, goes when all that is queued so far is done. Until then nothing else gets its
  // memory, also not what a lane is loading at this moment. It is there until the next run() or
  // settle(); on the CPU it goes at once.
  void give_up(std::shared_ptr<const void> object);
  // Waits for the computation that is queued so far, and lets all go that was given up.
  void settle() noexcept;
  // Queues `work` on the lane, behind the computation that what was given up waits for, and waits
  // until the device has done it.
  void run(const std::function<void()>& work);

 private:
  struct Queue;
  Queue* queue_ = nullptr;  // null on the CPU; lives as long as the process
};

}  // namespace t2v::ops
