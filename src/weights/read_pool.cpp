#include "weights/read_pool.h"

#include <exception>
#include <utility>

namespace t2v::weights {
namespace {

// The tasks of one run().
struct Batch {
  std::mutex mutex;
  std::condition_variable done;
  size_t left = 0;
  std::exception_ptr failure;
};

}  // namespace

ReadPool::ReadPool(int num_threads) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

ReadPool::~ReadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ReadPool::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const std::function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

void ReadPool::run(std::vector<std::function<void()>> tasks) {
  Batch batch;
  batch.left = tasks.size();
  const auto run_one = [&batch](const std::function<void()>& task) {
    std::exception_ptr failure;
    {
      const std::lock_guard lock(batch.mutex);
      failure = batch.failure;
    }
    try {
      if (!failure) task();  // after a failure the rest is not worth its time
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(batch.mutex);
    if (failure && !batch.failure) batch.failure = failure;
    if (--batch.left == 0) batch.done.notify_all();
  };
  {
    const std::lock_guard lock(mutex_);
    for (auto& task : tasks)
      queue_.emplace_back([&run_one, task = std::move(task)] { run_one(task); });
  }
  wake_.notify_all();
  std::unique_lock lock(batch.mutex);
  batch.done.wait(lock, [&] { return batch.left == 0; });
  if (batch.failure) std::rethrow_exception(batch.failure);
}

}  // namespace t2v::weights
