#include "weights/weight_stream.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <thread>

#include "t2v/error.h"

using namespace t2v;
using namespace t2v::weights;

namespace {

std::byte byte_at(int64_t offset) { return static_cast<std::byte>((offset * 131 + 7) >> 3); }

// A file whose bytes follow from their place; counts reads, can be slow and can fail.
class PatternFile final : public ByteSource {
 public:
  explicit PatternFile(int64_t size, int64_t fails_at = -1)
      : ByteSource("pattern", ErrorKind::kModel), size_(size), fails_at_(fails_at) {}
  [[nodiscard]] int64_t size() const noexcept override { return size_; }
  mutable std::atomic<int64_t> furthest{0};
  std::atomic<int64_t> delay_us{0};

 private:
  void read_range(int64_t offset, std::span<std::byte> out) const override {
    if (delay_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    const auto end = offset + static_cast<int64_t>(out.size());
    if (offset <= fails_at_ && fails_at_ < end) throw Error(ErrorKind::kRemote, "broken at byte");
    for (size_t i = 0; i < out.size(); ++i) out[i] = byte_at(offset + static_cast<int64_t>(i));
    int64_t seen = furthest.load();
    while (end > seen && !furthest.compare_exchange_weak(seen, end)) {
    }
  }
  int64_t size_;
  int64_t fails_at_;
};

TensorEntry entry(int64_t offset, int64_t bytes, int32_t file = 0) {
  return {.name = "t",
          .dtype = c10::ScalarType::Byte,
          .shape = {bytes},
          .file_index = file,
          .offset = offset,
          .bytes = bytes};
}

bool holds(const WeightStream::Loaded& loaded, const TensorEntry& wanted) {
  const int64_t place = loaded.turn->place_of(wanted);
  if (place < 0) return false;
  for (int64_t i = 0; i < wanted.bytes; ++i)
    if (loaded.data[place + i] != byte_at(wanted.offset + i)) return false;
  return true;
}

constexpr int64_t kFileBytes = 40 << 20;

std::vector<Turn> turns_of(const std::vector<TensorEntry>& entries) {
  std::vector<Turn> turns;
  for (size_t i = 0; i < entries.size(); ++i)
    turns.push_back(make_turn(static_cast<int64_t>(i), {&entries[i]}));
  return turns;
}

}  // namespace

TEST_CASE("a turn joins neighbours, keeps far tensors apart and starts at whole pages") {
  const TensorEntry a = entry(5000, 100);
  const TensorEntry b = entry(5100, 3000);
  const TensorEntry c = entry(30 << 20, 77);
  const TensorEntry d = entry(10, 20, 1);
  const TensorEntry none = entry(123, 0);
  const Turn turn = make_turn(4, {&c, &a, &none, &d, &b});
  REQUIRE(turn.extents.size() == 3);
  CHECK(turn.block == 4);
  for (const auto& extent : turn.extents) {
    CHECK(extent.begin % kStreamAlignment == 0);
    CHECK(extent.buffer_offset % kStreamAlignment == 0);
  }
  CHECK(turn.extents[0].begin == 4096);
  CHECK(turn.extents[0].end == 8100);
  CHECK(turn.bytes() < 20000);
  CHECK(turn.place_of(a) == 5000 - 4096);
  CHECK(turn.place_of(b) == 5100 - 4096);
  CHECK(turn.place_of(entry(8000, 101)) == -1);
  CHECK(turn.place_of(entry(10, 20)) == -1);  // the same place in another file
}

TEST_CASE("turns come in order, first once and then repeat for ever, with the right bytes") {
  auto file = std::make_shared<PatternFile>(kFileBytes);
  std::vector<TensorEntry> first, repeat;
  for (int64_t i = 0; i < 5; ++i) first.push_back(entry(i * (3 << 20) + 17 * i, (2 << 20) + i));
  for (int64_t i = 0; i < 3; ++i) repeat.push_back(entry(i * (4 << 20) + 5, 100'000 + i));
  for (const int buffers : {1, 2, 4}) {
    for (const int readers : {1, 3}) {
      WeightStream stream({file}, turns_of(first), turns_of(repeat),
                          {.num_readers = readers, .num_buffers = buffers, .piece_bytes = 65536});
      for (const auto& wanted : first) REQUIRE(holds(stream.next(), wanted));
      for (int lap = 0; lap < 4; ++lap)
        for (const auto& wanted : repeat) REQUIRE(holds(stream.next(), wanted));
      CHECK(stream.counts().turns == 5 + 12);
      CHECK(stream.counts().bytes > 5 * (2 << 20));
    }
  }
}

TEST_CASE("readers never run further ahead than there are buffers") {
  auto file = std::make_shared<PatternFile>(kFileBytes);
  std::vector<TensorEntry> entries;
  for (int64_t i = 0; i < 10; ++i) entries.push_back(entry(i * (3 << 20), 1 << 20));
  WeightStream stream({file}, turns_of(entries), {}, {.num_readers = 4, .num_buffers = 2});
  static_cast<void>(stream.next());  // turn 0 is in use, 1 may be read
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(file->furthest <= 3 * (1 << 20) + (1 << 20));
  stream.release();  // now 2 may be read as well
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(file->furthest > 2 * (3 << 20));
  CHECK(file->furthest <= 2 * (3 << 20) + (1 << 20));
}

TEST_CASE("a failed read reaches the consumer as it was thrown, and everything ends") {
  auto file = std::make_shared<PatternFile>(kFileBytes, (12 << 20) + 5);
  std::vector<TensorEntry> entries;
  for (int64_t i = 0; i < 8; ++i) entries.push_back(entry(i * (3 << 20), 2 << 20));
  WeightStream stream({file}, turns_of(entries), turns_of(entries), {.num_buffers = 3});
  try {
    for (int i = 0; i < 8; ++i) static_cast<void>(stream.next());
    FAIL("not thrown");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kRemote);
    CHECK(std::string(error.what()) == "broken at byte");
  }
}

TEST_CASE("a stream can be given up at any moment") {
  auto file = std::make_shared<PatternFile>(kFileBytes);
  file->delay_us = 300;
  std::vector<TensorEntry> entries;
  for (int64_t i = 0; i < 6; ++i) entries.push_back(entry(i * (3 << 20), 2 << 20));
  for (int used = 0; used < 6; ++used) {
    WeightStream stream({file}, turns_of(entries), turns_of(entries),
                        {.num_readers = 4, .num_buffers = 2, .piece_bytes = 65536});
    for (int i = 0; i < used; ++i) static_cast<void>(stream.next());
  }
  const WeightStream empty({file}, {}, {}, {});
  CHECK(empty.counts().turns == 0);
}
