#include "weights/weight_stream.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <new>

#include "core/check.h"
#include "core/trace.h"
#include "weights/storage.h"

namespace t2v::weights {
namespace {

constexpr int64_t kMaxGap = int64_t{1} << 20;

int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t align_down(int64_t value) noexcept { return value / kStreamAlignment * kStreamAlignment; }
int64_t align_up(int64_t value) noexcept { return align_down(value + kStreamAlignment - 1); }

std::shared_ptr<std::byte> allocate_aligned(size_t bytes) {
  auto* memory =
      static_cast<std::byte*>(std::aligned_alloc(static_cast<size_t>(kStreamAlignment), bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return {memory, [](std::byte* p) { std::free(p); }};
}

int64_t piece_bytes(const StreamOptions& options, const WeightStream::Files& files) {
  int64_t bytes = options.piece_bytes;
  if (bytes == 0)
    for (const auto& file : files) bytes = std::max(bytes, file->preferred_request_bytes());
  return std::max(align_up(bytes), kStreamAlignment);
}

// Two keep a disk busy, and more only make it jump (docs/benchmarks.md); requests over a network
// wait, so more of them are sent.
int reader_count(const StreamOptions& options, const WeightStream::Files& files) {
  if (options.num_readers > 0) return options.num_readers;
  return !files.empty() && is_remote(files[0]->name()) ? 6 : 2;
}

}  // namespace

int64_t Turn::place_of(const TensorEntry& entry) const noexcept {
  for (const Extent& extent : extents) {
    if (extent.file_index == entry.file_index && extent.begin <= entry.offset &&
        entry.offset + entry.bytes <= extent.end)
      return extent.buffer_offset + entry.offset - extent.begin;
  }
  return -1;
}

int64_t Turn::bytes() const noexcept {
  int64_t total = 0;
  for (const Extent& extent : extents) total += extent.end - extent.begin;
  return total;
}

Turn make_turn(int64_t block, std::vector<const TensorEntry*> entries) {
  std::sort(entries.begin(), entries.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return std::pair(a->file_index, a->offset) < std::pair(b->file_index, b->offset);
  });
  Turn turn;
  turn.block = block;
  for (const TensorEntry* entry : entries) {
    if (entry->bytes == 0) continue;
    const int64_t end = entry->offset + entry->bytes;
    if (!turn.extents.empty()) {
      Turn::Extent& last = turn.extents.back();
      if (last.file_index == entry->file_index && entry->offset - last.end <= kMaxGap) {
        last.end = std::max(last.end, end);
        continue;
      }
    }
    turn.extents.push_back({entry->file_index, align_down(entry->offset), end, 0});
  }
  for (Turn::Extent& extent : turn.extents) {
    extent.buffer_offset = turn.buffer_bytes;
    turn.buffer_bytes += align_up(extent.end - extent.begin);
  }
  return turn;
}

HostBuffer::HostBuffer(int64_t bytes, HostAllocator allocate) : bytes_(bytes) {
  const auto size = static_cast<size_t>(align_up(std::max<int64_t>(bytes, 1)));
  memory_ = allocate != nullptr ? allocate(size) : allocate_aligned(size);
}

WeightStream::Lap WeightStream::make_lap(std::vector<Turn> turns, int64_t piece_bytes) {
  Lap lap;
  lap.turns = std::move(turns);
  for (size_t number = 0; number < lap.turns.size(); ++number) {
    const size_t before = lap.pieces.size();
    const auto& extents = lap.turns[number].extents;
    for (size_t e = 0; e < extents.size(); ++e) {
      for (int64_t begin = extents[e].begin; begin < extents[e].end; begin += piece_bytes)
        lap.pieces.push_back({.turn_number = static_cast<int64_t>(number),
                              .extent = static_cast<int32_t>(e),
                              .begin = begin,
                              .bytes = std::min(piece_bytes, extents[e].end - begin)});
    }
    lap.num_pieces.push_back(static_cast<int64_t>(lap.pieces.size() - before));
  }
  return lap;
}

WeightStream::WeightStream(Files files, std::vector<Turn> first, std::vector<Turn> repeat,
                           const StreamOptions& options)
    : files_(std::move(files)),
      first_(make_lap(std::move(first), piece_bytes(options, files_))),
      repeat_(make_lap(std::move(repeat), piece_bytes(options, files_))) {
  T2V_ASSERT(options.num_readers >= 0 && options.num_buffers >= 1);
  int64_t largest = 0;
  for (const Lap* lap : {&first_, &repeat_})
    for (const Turn& turn : lap->turns) largest = std::max(largest, turn.buffer_bytes);
  const auto num_buffers = repeat_.turns.empty()
                               ? std::min<size_t>(static_cast<size_t>(options.num_buffers),
                                                  std::max<size_t>(first_.turns.size(), 1))
                               : static_cast<size_t>(options.num_buffers);
  for (size_t i = 0; i < num_buffers; ++i)
    slots_.push_back(std::make_unique<Slot>(HostBuffer(largest, options.allocate)));
  expected_.assign(num_buffers, 0);
  try {
    for (int i = 0; i < reader_count(options, files_); ++i)
      readers_.emplace_back([this] { read_pieces(); });
  } catch (...) {
    stop();
    throw;
  }
}

WeightStream::~WeightStream() { stop(); }

void WeightStream::stop() noexcept {
  stopping_.store(true);
  released_.store(std::numeric_limits<int64_t>::max() / 2);  // wakes every reader that waits
  released_.notify_all();
  for (std::thread& reader : readers_) reader.join();
  readers_.clear();
}

const Turn* WeightStream::turn_at(int64_t number) const noexcept {
  const auto num_first = static_cast<int64_t>(first_.turns.size());
  if (number < num_first) return &first_.turns[static_cast<size_t>(number)];
  if (repeat_.turns.empty()) return nullptr;
  return &repeat_.turns[static_cast<size_t>(number - num_first) % repeat_.turns.size()];
}

int64_t WeightStream::pieces_of(int64_t number) const noexcept {
  const auto num_first = static_cast<int64_t>(first_.turns.size());
  if (number < num_first) return first_.num_pieces[static_cast<size_t>(number)];
  return repeat_.num_pieces[static_cast<size_t>(number - num_first) % repeat_.turns.size()];
}

bool WeightStream::piece_at(int64_t index, Piece& piece) const noexcept {
  const auto num_first = static_cast<int64_t>(first_.pieces.size());
  if (index < num_first) {
    piece = first_.pieces[static_cast<size_t>(index)];
    return true;
  }
  if (repeat_.pieces.empty()) return false;
  const auto num_repeat = static_cast<int64_t>(repeat_.pieces.size());
  const int64_t lap = (index - num_first) / num_repeat;
  piece = repeat_.pieces[static_cast<size_t>((index - num_first) % num_repeat)];
  piece.turn_number +=
      static_cast<int64_t>(first_.turns.size()) + lap * static_cast<int64_t>(repeat_.turns.size());
  return true;
}

void WeightStream::read_piece(const Piece& piece, Slot& slot) const {
  const Turn::Extent& extent =
      turn_at(piece.turn_number)->extents[static_cast<size_t>(piece.extent)];
  const core::TraceSpan span("read", "read block", turn_at(piece.turn_number)->block);
  std::byte* to = slot.buffer.data() + extent.buffer_offset + (piece.begin - extent.begin);
  files_[static_cast<size_t>(extent.file_index)]->read(piece.begin,
                                                       {to, static_cast<size_t>(piece.bytes)});
}

void WeightStream::read_pieces() noexcept {
  core::name_thread("weight reader");
  const auto num_slots = static_cast<int64_t>(slots_.size());
  Piece piece;
  while (!stopping_.load() && piece_at(next_piece_.fetch_add(1), piece)) {
    for (int64_t released = released_.load(); piece.turn_number >= released + num_slots;
         released = released_.load())
      released_.wait(released);
    if (stopping_.load()) return;
    Slot& slot = *slots_[static_cast<size_t>(piece.turn_number % num_slots)];
    if (reading_.fetch_add(1) == 0) busy_since_.store(now_ns());
    try {
      if (!failed_.load()) read_piece(piece, slot);
      bytes_.fetch_add(piece.bytes, std::memory_order_relaxed);
    } catch (...) {
      if (!failure_taken_.exchange(true)) {
        failure_ = std::current_exception();
        failed_.store(true);
      }
    }
    const int64_t since = busy_since_.load();
    if (reading_.fetch_sub(1) == 1) busy_ns_.fetch_add(now_ns() - since);
    slot.pieces_done.fetch_add(1);
    slot.pieces_done.notify_all();
  }
}

void WeightStream::release() noexcept {
  if (!holding_) return;
  holding_ = false;
  released_.fetch_add(1);
  released_.notify_all();
}

WeightStream::Loaded WeightStream::next() {
  release();
  const Turn* turn = turn_at(next_turn_);
  T2V_ASSERT(turn != nullptr);
  const auto index = static_cast<size_t>(next_turn_) % slots_.size();
  Slot& slot = *slots_[index];
  expected_[index] += pieces_of(next_turn_);
  const int64_t begin = now_ns();
  for (int64_t done = slot.pieces_done.load(); done < expected_[index];
       done = slot.pieces_done.load())
    slot.pieces_done.wait(done);
  counts_.stall_ns += now_ns() - begin;
  if (failed_.load()) std::rethrow_exception(failure_);
  ++next_turn_;
  ++counts_.turns;
  holding_ = true;
  return {turn, slot.buffer.data()};
}

StreamCounts WeightStream::counts() const noexcept {
  StreamCounts counts = counts_;
  counts.bytes = bytes_.load();
  counts.busy_ns = busy_ns_.load();
  return counts;
}

}  // namespace t2v::weights
