// One expert: latents at a noise level -> the model's velocity.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "models/spec.h"
#include "models/wan/block.h"
#include "models/wan/block_pool.h"
#include "models/wan/embeddings.h"
#include "models/wan/head.h"
#include "weights/weight_map.h"

namespace t2v::models::wan {

// How the zero rows behind a prompt take part in cross-attention. All are the same row, so one row
// with log(count) added to its logit gives the same result.
enum class TextPadding { kFolded, kFull };

// Everything of one prompt that does not change between steps (specs: the condition cache).
struct Condition {
  at::Tensor text;              // embedded rows [S, C]; given up when all keys are made
  std::vector<CrossKeys> keys;  // one per block, made in the first pass
  at::Tensor key_bias;          // fp32 [S], or undefined
  double make_ms = 0;           // what it took to make, as the host saw it

  [[nodiscard]] int64_t bytes() const;
};

// One sequence of a pass: a guidance branch of a video.
struct Lane {
  at::Tensor latents;              // fp32 [C, T, h, w]
  Condition* condition;            // not null
  CausalCache* cache = nullptr;    // of a causal run, in which the chunk has begun
  at::Tensor* residual = nullptr;  // gets what the blocks have added to the patches: fp32 [L, C]
};
// Branches of the same latents.
std::vector<Lane> lanes_of(const at::Tensor& latents, const std::vector<Condition*>& conditions);

// How many sequences of this length share their matrix products. Long ones gain nothing by it and
// would only take memory.
int64_t num_shared(int64_t num_tokens) noexcept;

// Everything is resident and kept, and what is read comes by default options.
BlockPlan resident_plan(const TransformerSpec& spec);

class Transformer {
 public:
  // Checks all names and shapes, then reads patch embedding and head. Blocks are loaded when the
  // first pass needs them. Throws Error{kModel}.
  Transformer(const TransformerSpec& spec, std::shared_ptr<const weights::WeightMap> map,
              const BlockPlan& plan, at::ScalarType dtype, at::Device device);
  static weights::Expectations expectations(const TransformerSpec& spec);

  // What a prompt lacks: its condition (text embedding, keys), the modulation of its timesteps.
  struct PromptNeeds {
    bool condition = true;
    bool times = true;
    [[nodiscard]] PromptKeys keys() const noexcept {
      return condition ? PromptKeys::kMade : PromptKeys::kKnown;
    }
  };
  // Comes before the conditions and timesteps of a prompt: reads what makes them.
  void begin_prompt(const PromptNeeds& needs);
  void begin_prompt() { begin_prompt(PromptNeeds{}); }
  // text_embeddings fp32 [n, text_size] of any device, n <= text_len; rows n..text_len are zero.
  [[nodiscard]] Condition make_condition(const at::Tensor& text_embeddings, int64_t text_len,
                                         TextPadding padding = TextPadding::kFolded) const;
  // timestep: of any number type.
  template <typename Number>
  [[nodiscard]] TimeModulation make_time(Number timestep) const {
    return embeddings_.time(static_cast<double>(timestep));
  }
  // Comes behind them: gives up, by the plan, what only they need.
  void end_prologue() noexcept;

  struct Hooks {
    std::function<void()> between_blocks;  // called after each block; may throw to stop
    AroundLoad around_load;
    // Called after each block with the residual stream of some lanes, fp32 [B*L, C]. May be empty.
    std::function<void(int64_t block, const at::Tensor& stream)> after_block = {};
  };
  // What the sequences of a pass have in common.
  struct Pass {
    const TimeModulation& time;
    const ops::RopeTables& rope;
    ops::AttentionBackend attention = ops::AttentionBackend::kAuto;
    BlockPool::Again again = BlockPool::Again::kLater;  // kNever: no pass will follow
    // The first tokens of each lane are known already (a picture that was given): they have a
    // timestep of their own. Null: there are none.
    const TimeModulation* held_time = nullptr;
    int64_t held_tokens = 0;
    // Of a causal run: only the caches are wanted. The last block stops when they have what they
    // need, and there is no output.
    bool only_keys = false;
  };
  // One fp32 [C_out, T, h, w] for each lane, in order; none for Pass::only_keys.
  [[nodiscard]] std::vector<at::Tensor> forward(const Pass& pass, const std::vector<Lane>& lanes,
                                                const Hooks& hooks);

  // The output for patches to which `residual` is added instead of what the blocks would; reads no
  // block. pass.time and its held rows count.
  [[nodiscard]] at::Tensor predict(const Pass& pass, const at::Tensor& latents,
                                   const at::Tensor& residual) const;

  // Starts loading behind `leaving`, whose last pass gives up a block for each that comes in here.
  void take_over_from(Transformer& leaving, PromptKeys keys);
  // The other one is gone.
  void take_all_room() noexcept;

  [[nodiscard]] const TransformerSpec& spec() const noexcept { return spec_; }
  [[nodiscard]] const weights::WeightMap& weights() const noexcept { return *map_; }
  [[nodiscard]] PoolCounts counts() const { return pool_.counts(); }

 private:
  TransformerSpec spec_;
  std::shared_ptr<const weights::WeightMap> map_;
  bool keep_prologue_;
  Embeddings embeddings_;
  Head head_;
  BlockPool pool_;
  BlockPool* successor_ = nullptr;  // gets the room of blocks that are given up
};

}  // namespace t2v::models::wan
