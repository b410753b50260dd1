#include "media/async_sink.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <utility>
#include <vector>

#include "core/check.h"

namespace t2v::media {
namespace {

// Blocks what a handler of the program or a failing write could raise on the new thread.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int fatal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP})
      sigdelset(&all, fatal);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

AsyncSink::AsyncSink(std::unique_ptr<MediaSink> inner, int64_t max_queue_bytes)
    : inner_(std::move(inner)), max_queue_bytes_(max_queue_bytes) {}

AsyncSink::~AsyncSink() { abort(); }

void AsyncSink::begin(const VideoFormat& format) {
  T2V_ASSERT(!thread_.joinable());
  frame_bytes_ = format.width * format.height * 3;
  stopping_ = busy_ = false;
  error_ = nullptr;
  queued_bytes_ = 0;
  {
    const SignalsBlocked blocked;  // the new thread inherits the mask
    thread_ = std::thread([this] { run(); });
  }
  push({[this, format] { inner_->begin(format); }, 0});
  wait_until_idle();
}

void AsyncSink::write(const uint8_t* rgb, int64_t num_frames) {
  T2V_ASSERT(thread_.joinable());
  for (int64_t i = 0; i < num_frames; ++i) {
    const uint8_t* first = rgb + i * frame_bytes_;
    auto frame = std::make_shared<std::vector<uint8_t>>(first, first + frame_bytes_);
    push({[this, frame] { inner_->write(frame->data(), 1); }, frame_bytes_});
  }
}

void AsyncSink::finish() {
  T2V_ASSERT(thread_.joinable());
  push({[this] { inner_->finish(); }, 0});
  wait_until_idle();
  stop();
}

void AsyncSink::abort() noexcept {
  inner_->interrupt();
  stop();
  inner_->abort();
}

int64_t AsyncSink::peak_queue_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_bytes_;
}

void AsyncSink::push(Job job) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return error_ || queued_bytes_ == 0 || queued_bytes_ + job.bytes <= max_queue_bytes_;
  });
  if (error_) std::rethrow_exception(error_);
  queued_bytes_ += job.bytes;
  peak_bytes_ = std::max(peak_bytes_, queued_bytes_);
  jobs_.push_back(std::move(job));
  changed_.notify_all();
}

void AsyncSink::wait_until_idle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || (jobs_.empty() && !busy_); });
  if (error_) std::rethrow_exception(error_);
}

void AsyncSink::stop() noexcept {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    jobs_.clear();
    changed_.notify_all();
  }
  thread_.join();
}

void AsyncSink::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    busy_ = true;
    lock.unlock();
    std::exception_ptr error;
    try {
      job.work();
    } catch (...) {  // the edge of the thread: handed to the producer
      error = std::current_exception();
    }
    job.work = nullptr;
    lock.lock();
    busy_ = false;
    queued_bytes_ -= job.bytes;
    if (error) {
      error_ = error;
      jobs_.clear();
    }
    changed_.notify_all();
  }
}

}  // namespace t2v::media
