// A few threads that wait for remote answers, so that one large read has many requests in flight.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace t2v::weights {

// run() may be called from several threads at once, but not from a task.
class ReadPool {
 public:
  explicit ReadPool(int num_threads);
  ReadPool(const ReadPool&) = delete;
  ReadPool& operator=(const ReadPool&) = delete;
  ~ReadPool();

  // Runs all tasks and returns when the last one has ended; then throws the first exception.
  void run(std::vector<std::function<void()>> tasks);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace t2v::weights
