// Bytes of blocks on their way from files to the models: a ring of host buffers that reader threads
// fill ahead of use, in an order known beforehand.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "weights/byte_source.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {

// What one turn of the stream reads: some tensors of one block, as few large ranges.
struct Turn {
  struct Extent {
    int32_t file_index = 0;
    int64_t begin = 0;          // in the file, a multiple of kStreamAlignment
    int64_t end = 0;            // in the file
    int64_t buffer_offset = 0;  // a multiple of kStreamAlignment
  };
  int64_t block = 0;
  std::vector<Extent> extents;  // in the order of files and offsets
  int64_t buffer_bytes = 0;

  // Where an entry's bytes lie in the turn's buffer; -1 when the turn does not hold them.
  [[nodiscard]] int64_t place_of(const TensorEntry& entry) const noexcept;
  [[nodiscard]] int64_t bytes() const noexcept;  // read from files
};

// Direct reads need file offsets and memory aligned alike.
constexpr int64_t kStreamAlignment = 4096;

// Neighbours less than 1 MiB apart are read as one range.
Turn make_turn(int64_t block, std::vector<const TensorEntry*> entries);

// Makes host memory aligned to kStreamAlignment, of a kind that a device reads quickly. Throws
// std::bad_alloc.
using HostAllocator = std::shared_ptr<std::byte> (*)(size_t bytes);

// Memory for one turn, aligned to kStreamAlignment.
class HostBuffer {
 public:
  HostBuffer(int64_t bytes, HostAllocator allocate);  // null: ordinary memory
  [[nodiscard]] std::byte* data() const noexcept { return memory_.get(); }
  [[nodiscard]] int64_t bytes() const noexcept { return bytes_; }

 private:
  std::shared_ptr<std::byte> memory_;
  int64_t bytes_;
};

struct StreamOptions {
  int num_readers = 0;      // threads, each with one piece in flight; 0: by where the files lie
  int num_buffers = 2;      // turns that are read ahead, the one in use included
  int64_t piece_bytes = 0;  // of one read, a multiple of kStreamAlignment; 0: as the files like it
  HostAllocator allocate = nullptr;  // of the buffers; null: ordinary memory
};

struct StreamCounts {
  int64_t bytes = 0;     // delivered by the files
  int64_t turns = 0;     // handed out
  int64_t stall_ns = 0;  // the consumer waited
  int64_t busy_ns = 0;   // at least one turn was being read: wall time behind `bytes`
};

// One consumer. next() hands out the turns of `first`, then those of `repeat` again and again.
class WeightStream {
 public:
  using Files = std::vector<std::shared_ptr<const ByteSource>>;
  // repeat may be empty: then the stream ends behind `first`. Starts reading at once.
  WeightStream(Files files, std::vector<Turn> first, std::vector<Turn> repeat,
               const StreamOptions& options);
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;
  ~WeightStream();  // waits for the pieces in flight

  struct Loaded {
    const Turn* turn = nullptr;
    const std::byte* data = nullptr;  // turn->buffer_bytes
  };
  // Gives the buffer of the turn before back to the readers, then waits for the next turn. Throws
  // what a reader threw; the stream is then at its end.
  Loaded next();
  // Gives the current buffer back without asking for another.
  void release() noexcept;

  [[nodiscard]] StreamCounts counts() const noexcept;

 private:
  struct Slot {
    explicit Slot(HostBuffer memory) : buffer(std::move(memory)) {}
    HostBuffer buffer;
    std::atomic<int64_t> pieces_done{0};  // of all turns so far; counts up, never reset
  };
  struct Piece {
    int64_t turn_number = 0;
    int32_t extent = 0;
    int64_t begin = 0;  // in the file
    int64_t bytes = 0;
  };
  struct Lap {
    std::vector<Turn> turns;
    std::vector<Piece> pieces;        // turn_number counts within the lap
    std::vector<int64_t> num_pieces;  // by turn
  };

  [[nodiscard]] static Lap make_lap(std::vector<Turn> turns, int64_t piece_bytes);
  [[nodiscard]] const Turn* turn_at(int64_t number) const noexcept;
  [[nodiscard]] int64_t pieces_of(int64_t number) const noexcept;
  // Piece `index` of the endless sequence; turn_number counts from the stream's start.
  [[nodiscard]] bool piece_at(int64_t index, Piece& piece) const noexcept;
  void read_pieces() noexcept;
  void read_piece(const Piece& piece, Slot& slot) const;
  void stop() noexcept;

  Files files_;
  Lap first_;
  Lap repeat_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<int64_t> expected_;  // by slot: pieces_done when its current turn is whole
  std::atomic<int64_t> next_piece_{0};
  std::atomic<int64_t> released_{0};  // turns whose buffers were given back
  std::atomic<bool> stopping_{false};
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;  // written once, before failed_
  std::atomic<bool> failure_taken_{false};
  int64_t next_turn_ = 0;
  bool holding_ = false;
  StreamCounts counts_;
  std::atomic<int64_t> bytes_{0};
  std::atomic<int64_t> reading_{0};  // pieces in flight
  std::atomic<int64_t> busy_since_{0};
  std::atomic<int64_t> busy_ns_{0};
  std::vector<std::thread> readers_;
};

}  // namespace t2v::weights
