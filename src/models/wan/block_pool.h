// The blocks of one expert in the order in which they run, wherever their weights are: in memory
// ready to run, in host memory as stored, or on disk.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "models/spec.h"
#include "models/wan/block.h"
#include "models/wan/quantised_block.h"
#include "ops/copy_lane.h"
#include "weights/weight_map.h"
#include "weights/weight_stream.h"

namespace t2v::models::wan {

// Where a block's weights stay between two passes.
enum class BlockHome : uint8_t {
  kResident,    // ready to run
  kHostCached,  // in host memory, as stored; made ready in each pass
  kStreamed,    // in the file; read in each pass
};

struct BlockPlan {
  std::vector<BlockHome> homes;   // one per block
  bool keep_key_weights = true;   // else given up behind the first pass of each prompt
  bool load_ahead = false;        // a thread makes blocks ready while others run (devices)
  int64_t num_slots = 1;          // blocks that are not resident and ready at one time
  weights::StreamOptions stream;  // how files are read
  QuantPlan quant;                // how linear layers compute
};

// Told whenever get() has to load in the first pass: runs `work` and knows how far it is.
using AroundLoad = std::function<void(int64_t index, const std::function<void()>& work)>;

struct PoolCounts {
  weights::StreamCounts stream;
  int64_t streamed_blocks = 0;    // made ready again behind the first pass
  int64_t key_bytes_skipped = 0;  // of key weights, which were left out when a block was read
};

// Whether the first pass of a prompt makes cross-attention keys, or they are known from before.
enum class PromptKeys { kMade, kKnown };

// Used by one thread: get(0), done(0), get(1), ... done(n-1), get(0), ...
class BlockPool {
 public:
  // map: of the whole expert, already checked.
  BlockPool(const TransformerSpec& spec, std::shared_ptr<const weights::WeightMap> map,
            BlockPlan plan, at::ScalarType dtype, at::Device device);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool();

  // The next pass is the first of a prompt: its blocks have their key weights, unless the keys are
  // known. Blocks are at the start of a pass.
  void begin_prompt(PromptKeys keys);
  // The block, ready to run; stays so until done(). Throws what loading throws.
  Block& get(int64_t index, const AroundLoad& around);
  // kNever: the block will not be asked for again, whatever its home: its memory is given back.
  enum class Again { kLater, kNever };
  void done(int64_t index, Again again);

  // Starts loading the first pass on a thread of its own; each allow(1) lets it make one more
  // block ready. For the expert that comes next: the one before gives up a block for each.
  void load_behind_another(PromptKeys keys);
  void allow(int64_t blocks) noexcept;

  // Whether a thread is at it: then the first pass has begun.
  [[nodiscard]] bool is_loading() const noexcept { return loader_.joinable() && first_pass_; }
  [[nodiscard]] PoolCounts counts() const;

 private:
  enum class Part : uint8_t { kAll, kWithoutKeys, kKeysOnly };
  struct Cached {  // a block in host memory: as it was stored, or quantised
    weights::Turn turn;
    std::optional<weights::HostBuffer> bytes;
    std::unique_ptr<QuantisedBlock> quantised;
  };
  [[nodiscard]] std::optional<Part> part_to_read(int64_t index, bool first_pass) const;
  [[nodiscard]] weights::Turn make_turn(int64_t index, Part part) const;
  void start_stream();
  [[nodiscard]] bool makes_keys(bool first_pass) const noexcept {
    return first_pass && keys_ == PromptKeys::kMade;
  }
  [[nodiscard]] int64_t key_bytes(int64_t index) const;
  [[nodiscard]] bool needs_work(int64_t index, bool first_pass) const;
  void make_ready(int64_t index, bool first_pass);
  void keep_in_host_memory(int64_t index, const weights::WeightStream::Loaded& loaded);
  void build_cached(int64_t index, Part part);
  void build(int64_t index, Part part, const weights::WeightSource& source);
  [[nodiscard]] Placement placement(int64_t index, const weights::WeightSource& source) const {
    return {source, dtype_, device_, plan_.quant.for_block(index, spec_.num_blocks)};
  }

  void start_loader(bool only_first_pass);
  void stop_loader() noexcept;
  void load_passes(bool only_first_pass);
  [[nodiscard]] bool may_load(int64_t index) const;
  void wait_for(int64_t index);

  TransformerSpec spec_;
  std::shared_ptr<const weights::WeightMap> map_;
  BlockPlan plan_;
  at::ScalarType dtype_;
  at::Device device_;
  ops::CopyLane lane_;
  std::unique_ptr<weights::WeightStream> stream_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<std::unique_ptr<Cached>> cached_;
  bool first_pass_ = true;
  PromptKeys keys_ = PromptKeys::kMade;  // of the first pass
  PoolCounts counts_;
  weights::StreamCounts ended_;  // of streams that are gone

  // The loader thread and what it shares with get() and done(), under mutex_.
  std::thread loader_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::exception_ptr failure_;
  std::vector<int64_t> ready_pass_;  // by block: passes for which it was made ready
  int64_t pass_ = 0;                 // since begin_prompt
  int64_t permits_ = 0;
  int64_t slots_used_ = 0;
  bool last_pass_ = false;  // nothing is made ready for a pass behind this one
};

}  // namespace t2v::models::wan
