#include "models/wan/block_pool.h"

#include <cstring>
#include <limits>
#include <string>

#include "core/check.h"
#include "weights/weight_block.h"

namespace t2v::models::wan {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max() / 2;

weights::StreamCounts add(weights::StreamCounts a, const weights::StreamCounts& b) {
  a.bytes += b.bytes;
  a.turns += b.turns;
  a.stall_ns += b.stall_ns;
  a.busy_ns += b.busy_ns;
  return a;
}

}  // namespace

BlockPool::BlockPool(const TransformerSpec& spec, std::shared_ptr<const weights::WeightMap> map,
                     BlockPlan plan, at::ScalarType dtype, at::Device device)
    : spec_(spec),
      map_(std::move(map)),
      plan_(std::move(plan)),
      dtype_(dtype),
      device_(device),
      lane_(device) {
  const auto n = static_cast<size_t>(spec.num_blocks);
  T2V_ASSERT(plan_.homes.size() == n && plan_.num_slots >= 1);
  blocks_.resize(n);
  cached_.resize(n);
  ready_pass_.assign(n, 0);
}

BlockPool::~BlockPool() {
  stop_loader();
  lane_.settle();  // nothing computes with its blocks any more
}

std::optional<BlockPool::Part> BlockPool::part_to_read(int64_t index, bool first_pass) const {
  const auto i = static_cast<size_t>(index);
  switch (plan_.homes[i]) {
    case BlockHome::kResident:
      if (!first_pass) return std::nullopt;
      if (!blocks_[i]) return makes_keys(true) ? Part::kAll : Part::kWithoutKeys;
      return blocks_[i]->has_key_weights() || !makes_keys(true)
                 ? std::nullopt
                 : std::make_optional(Part::kKeysOnly);
    case BlockHome::kHostCached:
      return first_pass && !cached_[i] ? std::make_optional(Part::kAll) : std::nullopt;
    case BlockHome::kStreamed:
      break;
  }
  return makes_keys(first_pass) ? Part::kAll : Part::kWithoutKeys;
}

int64_t BlockPool::key_bytes(int64_t index) const {
  int64_t bytes = 0;
  for (const auto& [name, entry] : map_->entries(core::str("blocks.", index, ".cross_attn.")))
    if (Block::is_key_weight(name)) bytes += entry->bytes;
  return bytes;
}

bool BlockPool::needs_work(int64_t index, bool first_pass) const {
  if (plan_.homes[static_cast<size_t>(index)] != BlockHome::kResident) return true;
  return part_to_read(index, first_pass).has_value();
}

weights::Turn BlockPool::make_turn(int64_t index, Part part) const {
  std::vector<const weights::TensorEntry*> entries;
  for (const auto& [name, entry] : map_->entries(core::str("blocks.", index, "."))) {
    const bool is_key = Block::is_key_weight(name);
    if ((part == Part::kWithoutKeys && is_key) || (part == Part::kKeysOnly && !is_key)) continue;
    entries.push_back(entry);
  }
  return weights::make_turn(index, std::move(entries));
}

void BlockPool::start_stream() {
  std::vector<weights::Turn> first;
  std::vector<weights::Turn> repeat;
  for (int64_t i = 0; i < spec_.num_blocks; ++i) {
    if (const auto part = part_to_read(i, true)) first.push_back(make_turn(i, *part));
    if (const auto part = part_to_read(i, false)) repeat.push_back(make_turn(i, *part));
  }
  if (stream_) ended_ = add(ended_, stream_->counts());
  stream_.reset();  // its buffers go before those of the next
  if (first.empty() && repeat.empty()) return;
  stream_ = std::make_unique<weights::WeightStream>(map_->checkpoint().files(), std::move(first),
                                                    std::move(repeat), plan_.stream);
}

void BlockPool::begin_prompt(PromptKeys keys) {
  stop_loader();
  keys_ = keys;
  if (stream_) ended_ = add(ended_, stream_->counts());
  stream_.reset();
  // What was made ready for a pass that does not come.
  for (size_t i = 0; i < blocks_.size(); ++i)
    if (plan_.homes[i] != BlockHome::kResident) blocks_[i].reset();
  ready_pass_.assign(ready_pass_.size(), 0);
  pass_ = 0;
  first_pass_ = true;
  slots_used_ = 0;
  last_pass_ = false;
}

void BlockPool::build(int64_t index, Part part, const weights::WeightSource& source) {
  const Placement from = placement(index, source);
  auto& block = blocks_[static_cast<size_t>(index)];
  lane_.run([&] {
    if (part == Part::kKeysOnly)
      block->load_key_weights(from, index);
    else
      block = std::make_unique<Block>(
          spec_, from, index, part == Part::kAll ? KeyWeights::kWith : KeyWeights::kWithout);
  });
}

void BlockPool::build_cached(int64_t index, Part part) {
  const Cached& cached = *cached_[static_cast<size_t>(index)];
  if (cached.quantised) return build(index, part, *cached.quantised);
  build(index, part, weights::WeightBlock(*map_, cached.turn, cached.bytes->data()));
}

void BlockPool::keep_in_host_memory(int64_t index, const weights::WeightStream::Loaded& loaded) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : map_->entries(core::str("blocks.", index, ".")))
    if (names.empty() || names.back() != name) names.push_back(name);  // a scale has the same name
  auto cached = std::make_unique<Cached>();
  cached->turn = *loaded.turn;
  const weights::WeightBlock source(*map_, *loaded.turn, loaded.data);
  const Placement from = placement(index, source);
  if (QuantisedBlock::pays(from, names)) {
    cached->quantised = std::make_unique<QuantisedBlock>(from, names, plan_.stream.allocate);
  } else {
    cached->bytes.emplace(loaded.turn->buffer_bytes, plan_.stream.allocate);
    std::memcpy(cached->bytes->data(), loaded.data, static_cast<size_t>(loaded.turn->buffer_bytes));
  }
  cached_[static_cast<size_t>(index)] = std::move(cached);
}

void BlockPool::make_ready(int64_t index, bool first_pass) {
  const auto i = static_cast<size_t>(index);
  const auto part = part_to_read(index, first_pass);
  if (!part) {
    if (plan_.homes[i] == BlockHome::kHostCached)
      build_cached(index, makes_keys(first_pass) ? Part::kAll : Part::kWithoutKeys);
    return;
  }
  const auto loaded = stream_->next();
  T2V_ASSERT(loaded.turn->block == index);
  if (plan_.homes[i] == BlockHome::kHostCached) {
    keep_in_host_memory(index, loaded);
    build_cached(index, makes_keys(first_pass) ? Part::kAll : Part::kWithoutKeys);
  } else {
    build(index, *part, weights::WeightBlock(*map_, *loaded.turn, loaded.data));
  }
  stream_->release();
  // The stream's own counts are those of the thread that uses it: others see this copy.
  const std::lock_guard lock(mutex_);
  counts_.stream = add(ended_, stream_->counts());
  if (*part == Part::kWithoutKeys) counts_.key_bytes_skipped += key_bytes(index);
}

Block& BlockPool::get(int64_t index, const AroundLoad& around) {
  const auto i = static_cast<size_t>(index);
  if (loader_.joinable() && pass_ > 0 && !plan_.load_ahead) stop_loader();
  if (!loader_.joinable() && first_pass_ && index == 0) {
    start_stream();
    if (plan_.load_ahead) {
      permits_ = kUnlimited;
      start_loader(false);
    }
  }
  const auto work = [&] { loader_.joinable() ? wait_for(index) : make_ready(index, first_pass_); };
  if (first_pass_) {
    if (loader_.joinable() || needs_work(index, true)) around(index, work);
  } else if (plan_.homes[i] != BlockHome::kResident) {
    work();
    const std::lock_guard lock(mutex_);
    ++counts_.streamed_blocks;
  }
  T2V_ASSERT(blocks_[i] != nullptr);
  return *blocks_[i];
}

void BlockPool::done(int64_t index, Again again) {
  const auto i = static_cast<size_t>(index);
  const bool streamed = plan_.homes[i] != BlockHome::kResident;
  const bool drop_keys = first_pass_ && !plan_.keep_key_weights && blocks_[i]->has_key_weights();
  {
    const std::lock_guard lock(mutex_);
    last_pass_ = again == Again::kNever;
    if (streamed || last_pass_) {
      // Before its slot is free, so that the block that takes it finds the memory.
      lane_.give_up(std::shared_ptr<const Block>(std::move(blocks_[i])));
      if (streamed && loader_.joinable()) --slots_used_;
    } else if (drop_keys) {
      lane_.give_up(blocks_[i]->take_key_weights());
    }
    if (again == Again::kNever) cached_[i].reset();
    if (index + 1 == spec_.num_blocks) {
      first_pass_ = false;
      ++pass_;
    }
  }
  changed_.notify_all();
  if (again == Again::kNever && index + 1 == spec_.num_blocks) stop_loader();
}

PoolCounts BlockPool::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void BlockPool::load_behind_another(PromptKeys keys) {
  T2V_ASSERT(first_pass_ && !loader_.joinable());
  keys_ = keys;
  start_stream();
  permits_ = 0;
  start_loader(!plan_.load_ahead);
}

void BlockPool::allow(int64_t blocks) noexcept {
  {
    const std::lock_guard lock(mutex_);
    permits_ = blocks >= kUnlimited - permits_ ? kUnlimited : permits_ + blocks;
  }
  changed_.notify_all();
}

void BlockPool::start_loader(bool only_first_pass) {
  stopping_ = false;
  failure_ = nullptr;
  loader_ = std::thread([this, only_first_pass] { load_passes(only_first_pass); });
}

void BlockPool::stop_loader() noexcept {
  if (!loader_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  loader_.join();
}

// Under mutex_.
bool BlockPool::may_load(int64_t index) const {
  const auto i = static_cast<size_t>(index);
  if (plan_.homes[i] == BlockHome::kResident) return blocks_[i] != nullptr || permits_ > 0;
  return slots_used_ < plan_.num_slots && blocks_[i] == nullptr && permits_ > 0;
}

void BlockPool::load_passes(bool only_first_pass) {
  try {
    for (int64_t pass = 0; pass == 0 || !only_first_pass; ++pass) {
      bool idle = true;
      for (int64_t index = 0; index < spec_.num_blocks; ++index) {
        const auto i = static_cast<size_t>(index);
        const bool resident = plan_.homes[i] == BlockHome::kResident;
        if (pass > 0 && resident) continue;
        idle = false;
        {
          std::unique_lock lock(mutex_);
          const auto ends = [&] { return stopping_ || (last_pass_ && pass > pass_); };
          changed_.wait(lock, [&] { return ends() || may_load(index); });
          if (ends()) return;
          if (resident && !blocks_[i] && permits_ < kUnlimited) --permits_;
          if (!resident) ++slots_used_;
        }
        make_ready(index, pass == 0);
        {
          const std::lock_guard lock(mutex_);
          ready_pass_[i] = pass + 1;
        }
        changed_.notify_all();
      }
      if (idle) return;
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

void BlockPool::wait_for(int64_t index) {
  std::unique_lock lock(mutex_);
  const auto i = static_cast<size_t>(index);
  changed_.wait(lock, [&] { return failure_ != nullptr || ready_pass_[i] > pass_; });
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace t2v::models::wan
