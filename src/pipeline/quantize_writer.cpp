#include "pipeline/quantize_writer.h"

#include <utility>

namespace t2v::pipeline {
namespace {

constexpr int64_t kMaxQueuedBytes = int64_t{48} << 20;
// Work that a kill may cost.
constexpr int64_t kSyncBytes = int64_t{256} << 20;
constexpr std::chrono::milliseconds kSyncInterval{500};

}  // namespace

QuantizeWriter::QuantizeWriter(const weights::PartialFile& file, QuantizeJournal& journal)
    : file_(file), journal_(journal), thread_([this] { work(); }) {}

QuantizeWriter::~QuantizeWriter() { stop(); }

void QuantizeWriter::put(int64_t offset, at::Tensor bytes, std::optional<TensorRecord> done) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queued_bytes_ <= kMaxQueuedBytes || failure_; });
  if (failure_) std::rethrow_exception(failure_);
  queued_bytes_ += static_cast<int64_t>(bytes.nbytes());
  queue_.push_back({offset, std::move(bytes), std::move(done)});
  changed_.notify_all();
}

void QuantizeWriter::finish() {
  stop();
  if (failure_) std::rethrow_exception(failure_);
}

void QuantizeWriter::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void QuantizeWriter::write(const Piece& piece) {
  const size_t bytes = piece.bytes.nbytes();
  if (bytes > 0) file_.write(piece.offset, piece.bytes.const_data_ptr(), bytes);
  unsynced_bytes_ += static_cast<int64_t>(bytes);
  bytes_written_ += static_cast<int64_t>(bytes);
  if (piece.done) finished_.push_back(*piece.done);
  if (unsynced_bytes_ >= kSyncBytes || Clock::now() - last_sync_ >= kSyncInterval) note_finished();
}

// First the tensors, then the words that say so.
void QuantizeWriter::note_finished() {
  if (!finished_.empty()) {
    file_.sync();
    journal_.append(finished_);
    finished_.clear();
    unsynced_bytes_ = 0;
  }
  last_sync_ = Clock::now();
}

void QuantizeWriter::work() noexcept {
  try {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return !queue_.empty() || ending_; });
      if (queue_.empty()) break;
      const Piece piece = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      write(piece);
      lock.lock();
      queued_bytes_ -= static_cast<int64_t>(piece.bytes.nbytes());
      changed_.notify_all();
    }
    lock.unlock();
    note_finished();
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    queue_.clear();
    changed_.notify_all();
  }
}

}  // namespace t2v::pipeline
