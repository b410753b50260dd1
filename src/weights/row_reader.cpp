#include "weights/row_reader.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/check.h"
#include "weights/stored_tensor.h"

namespace t2v::weights {
namespace {

constexpr int64_t kSlabElements = int64_t{4} << 20;  // 16 MiB as fp32
constexpr int64_t kTurnBytes = int64_t{16} << 20;
constexpr size_t kTurnSlabs = 256;
constexpr int kNumBuffers = 3;

}  // namespace

RowReader::RowReader(const WeightMap& map, const std::vector<std::string>& names) : map_(map) {
  std::vector<std::pair<std::string, const TensorEntry*>> order;
  order.reserve(names.size());
  for (const std::string& name : names) order.emplace_back(name, map.storage_of(name).entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::tuple(a.second->file_index, a.second->offset, a.first) <
           std::tuple(b.second->file_index, b.second->offset, b.first);
  });
  for (const auto& [name, entry] : order) cut(name, *entry);
  group();
  std::vector<weights::Turn> turns;
  turns.reserve(turns_.size());
  for (const auto& slabs : turns_) {
    std::vector<const TensorEntry*> entries;
    entries.reserve(slabs.size());
    for (const RowSlab* slab : slabs) entries.push_back(&slab->entry);
    turns.push_back(make_turn(static_cast<int64_t>(turns.size()), std::move(entries)));
  }
  if (turns.empty()) return;
  stream_ = std::make_unique<WeightStream>(map.checkpoint().files(), std::move(turns),
                                           std::vector<weights::Turn>{},
                                           StreamOptions{.num_buffers = kNumBuffers});
}

void RowReader::cut(const std::string& name, const TensorEntry& entry) {
  const int64_t rows = entry.shape.empty() ? 1 : entry.shape[0];
  const int64_t elements = num_elements(entry.shape);
  const bool can_be_cut = rows > 1 && entry.bytes % rows == 0 &&
                          (entry.encoding == Encoding::kPlain ||
                           entry.bytes / rows % block_size(entry.encoding).bytes == 0);
  int64_t step = rows;
  if (can_be_cut && elements > kSlabElements) {
    step = std::max<int64_t>(1, kSlabElements / (elements / rows));
    const auto storage = map_.storage_of(name);
    if (storage.scheme != nullptr && storage.scheme->block_scale)
      step = std::max(kScaleBlock, step / kScaleBlock * kScaleBlock);
  }
  for (int64_t begin = 0; begin < std::max<int64_t>(rows, 1); begin += std::max<int64_t>(step, 1)) {
    RowSlab slab{.name = name, .begin = begin, .count = std::min(step, rows - begin)};
    slab.is_first = begin == 0;
    slab.is_last = begin + step >= rows;
    slab.entry = entry;
    if (slab.count != rows) {
      const int64_t row_bytes = entry.bytes / rows;
      slab.entry.offset += begin * row_bytes;
      slab.entry.bytes = slab.count * row_bytes;
    }
    slabs_.push_back(std::move(slab));
  }
}

void RowReader::group() {
  int64_t bytes = 0;
  for (const RowSlab& slab : slabs_) {
    if (turns_.empty() || bytes + slab.entry.bytes > kTurnBytes ||
        turns_.back().size() >= kTurnSlabs) {
      turns_.emplace_back();
      bytes = 0;
    }
    turns_.back().push_back(&slab);
    bytes += slab.entry.bytes;
  }
}

RowReader::Turn RowReader::next() {
  T2V_ASSERT(next_ < turns_.size());
  const WeightStream::Loaded loaded = stream_->next();
  return {turns_[next_++], loaded.turn, loaded.data};
}

at::Tensor RowReader::Turn::bytes_of(const RowSlab& slab) const {
  const int64_t place = slab.entry.bytes > 0 ? turn->place_of(slab.entry) : 0;
  T2V_ASSERT(place >= 0);
  return at::from_blob(const_cast<std::byte*>(data + place), {slab.entry.bytes}, at::kByte);
}

StreamCounts RowReader::counts() const noexcept {
  return stream_ ? stream_->counts() : StreamCounts{};
}

}  // namespace t2v::weights
