// A queue of a device beside the one that computes: weights come in on it while blocks run. On the
// CPU, where there is one queue only, nothing happens.
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
  ~CopyLane();

  // Called where the computation is queued: what run() does later waits for all of it so far.
  void follow_compute();
  // Queues `work` on the lane and waits until the device has done it.
  void run(const std::function<void()>& work);

 private:
  struct Queue;
  std::unique_ptr<Queue> queue_;  // null on the CPU
};

}  // namespace t2v::ops
