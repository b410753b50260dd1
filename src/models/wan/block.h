// One transformer block: self-attention, cross-attention to the text, feed-forward; the first and
// the last modulated by the timestep.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "models/placement.h"
#include "models/spec.h"
#include "models/wan/causal_cache.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/rope.h"
#include "weights/weight_map.h"

namespace t2v::models::wan {

// Cross-attention input of one block for one prompt; does not change between steps.
struct CrossKeys {
  at::Tensor k, v;  // [N, S, D]
};

// Prompts and guidance branches that run through a block together: one sequence of L tokens each.
struct BlockContext {
  const ops::RopeTables* rope = nullptr;
  at::Tensor time;                        // fp32 [6, C], of this timestep
  at::Tensor held_time;                   // the same of held tokens; undefined: there are none
  int64_t held_tokens = 0;                // the first ones of each sequence
  std::vector<const CrossKeys*> prompts;  // one per sequence
  std::vector<at::Tensor> key_bias;       // fp32 [S] per sequence, or undefined
  ops::AttentionBackend attention = ops::AttentionBackend::kAuto;  // of self-attention
  // A causal run: one cache per sequence, which self-attention writes to and reads; else empty.
  std::vector<CausalCache*> caches;
  int64_t layer = 0;  // of these caches
};

// Long sequences go through everything but self-attention in pieces of about equal size, so that
// no intermediate is as long as the sequence. 16384 rows fill a large GPU's matrix products.
constexpr int64_t kMaxChunkRows = 16384;
constexpr int64_t kChunkMultiple = 128;
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};
std::vector<RowRange> row_ranges(int64_t rows);
// The same for sequences whose first tokens are held: no range has both kinds of rows.
std::vector<RowRange> row_ranges(int64_t rows, int64_t tokens, int64_t held_tokens);

// The most that Block::run takes beside x, for so many rows (of all sequences together).
int64_t block_work_bytes(const TransformerSpec& spec, int64_t rows, int64_t element_bytes,
                         const QuantPlan& quant = {});

// The weights that make cross-attention keys and values are needed once per prompt only.
enum class KeyWeights { kWith, kWithout };

class Block {
 public:
  Block(const TransformerSpec& spec, const Placement& from, int64_t index, KeyWeights keys);
  static void expect(const TransformerSpec& spec, int64_t index, weights::Expectations& expected);
  // Whether a tensor belongs to what KeyWeights::kWithout leaves out. name: canonical.
  static bool is_key_weight(std::string_view name) noexcept;

  // The weights that make_keys needs: reads them; hands them out, so that they go with the result.
  void load_key_weights(const Placement& from, int64_t index);
  [[nodiscard]] std::shared_ptr<const void> take_key_weights();
  [[nodiscard]] bool has_key_weights() const { return cross_attn_k_.defined(); }
  // text [S, C] (embedded rows) -> keys and values, once per prompt.
  [[nodiscard]] CrossKeys make_keys(const at::Tensor& text) const;

  // x fp32 [B*L, C], the residual stream of B sequences, changed in place.
  void run(at::Tensor& x, const BlockContext& context) const;
  // Only as far as the causal caches need it: the last block of a pass that nobody reads.
  void write_keys(const at::Tensor& x, const BlockContext& context) const;

 private:
  struct Modulation {
    at::Tensor shift_attn, scale_attn, gate_attn, shift_ffn, scale_ffn, gate_ffn;  // fp32 [C]
  };
  [[nodiscard]] Modulation modulate(const at::Tensor& time) const;
  // Each range of rows with the modulation that it gets.
  [[nodiscard]] std::vector<std::pair<RowRange, Modulation>> modulated_ranges(
      int64_t rows, const BlockContext& context) const;
  // All rows of x -> q, k, v of each sequence, rotated.
  [[nodiscard]] std::vector<ops::QkvHeads> project_heads(const at::Tensor& x,
                                                         const BlockContext& context) const;
  // All rows of x -> what each token has gathered, [B*L, C].
  [[nodiscard]] at::Tensor self_attention(const at::Tensor& x, const BlockContext& context) const;
  [[nodiscard]] at::Tensor cross_attention(ops::Rows normed, const RowRange& range,
                                           const BlockContext& context) const;
  // The rest of the block for a range of rows; x and mixed are these rows.
  void finish_rows(at::Tensor x, const at::Tensor& mixed, const Modulation& m,
                   const RowRange& range, const BlockContext& context) const;

  TransformerSpec spec_;
  at::ScalarType dtype_;
  at::Tensor modulation_;  // fp32 [6, C]
  ops::Linear self_attn_qkv_, self_attn_o_;
  at::Tensor self_attn_norm_q_, self_attn_norm_k_;
  at::Tensor norm3_weight_, norm3_bias_;  // undefined when the model has no cross_attn_norm
  ops::Linear cross_attn_q_, cross_attn_k_, cross_attn_v_, cross_attn_o_;
  at::Tensor cross_attn_norm_q_, cross_attn_norm_k_;
  ops::Linear ffn_0_, ffn_2_;
};

}  // namespace t2v::models::wan
