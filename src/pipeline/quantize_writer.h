// Writes tensors into a partial file on a thread of its own, and notes in the journal what is safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "pipeline/quantize_journal.h"
#include "weights/partial_file.h"

namespace t2v::pipeline {

// put() and finish() by one thread.
class QuantizeWriter {
 public:
  // Both outlive the writer.
  QuantizeWriter(const weights::PartialFile& file, QuantizeJournal& journal);
  QuantizeWriter(const QuantizeWriter&) = delete;
  QuantizeWriter& operator=(const QuantizeWriter&) = delete;
  // Writes and notes what was put, also when an error of another place ends the run.
  ~QuantizeWriter();

  // Waits while more than a few pieces are under way. bytes: contiguous; done: the tensor that is
  // whole with them. Throws what the thread threw.
  void put(int64_t offset, at::Tensor bytes, std::optional<TensorRecord> done = std::nullopt);
  // Returns when everything is written, synced and in the journal.
  void finish();
  [[nodiscard]] int64_t bytes_written() const noexcept { return bytes_written_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Piece {
    int64_t offset = 0;
    at::Tensor bytes;
    std::optional<TensorRecord> done;
  };
  void work() noexcept;
  void write(const Piece& piece);
  void note_finished();
  void stop() noexcept;

  const weights::PartialFile& file_;
  QuantizeJournal& journal_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> queue_;
  int64_t queued_bytes_ = 0;
  bool ending_ = false;
  std::exception_ptr failure_;
  // Of the thread.
  std::vector<TensorRecord> finished_;  // written, not yet synced
  int64_t unsynced_bytes_ = 0;
  Clock::time_point last_sync_ = Clock::now();
  int64_t bytes_written_ = 0;
  std::thread thread_;
};

}  // namespace t2v::pipeline
