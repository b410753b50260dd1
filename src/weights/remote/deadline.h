// Runs one blocking call on a thread of its own and stops waiting for it at a deadline.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace t2v::weights::remote {

// Counts the calls that are still under way, also those that nobody waits for any more.
class RunningCalls {
 public:
  void enter() {
    const std::lock_guard lock(mutex_);
    ++count_;
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    --count_;
    changed_.notify_all();
  }
  // Whether all have ended within the time.
  bool wait(std::chrono::duration<double> time) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [&] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

// The result of `call`, or nothing when it has not ended after `seconds`: then it goes on by
// itself, so it must own everything that it touches. `running` outlives it.
template <typename Result>
std::optional<Result> call_within(RunningCalls& running, double seconds,
                                  std::function<Result()> call) {
  struct Shared {
    std::mutex mutex;
    std::condition_variable done;
    std::optional<Result> result;
  };
  const auto shared = std::make_shared<Shared>();
  running.enter();
  std::thread([shared, &running, call = std::move(call)] {
    Result result = call();
    {
      const std::lock_guard lock(shared->mutex);
      shared->result = std::move(result);
      shared->done.notify_all();
    }
    running.leave();
  }).detach();
  std::unique_lock lock(shared->mutex);
  shared->done.wait_for(lock, std::chrono::duration<double>(seconds),
                        [&] { return shared->result.has_value(); });
  return std::move(shared->result);
}

}  // namespace t2v::weights::remote
