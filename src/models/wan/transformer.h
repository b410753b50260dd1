// One expert: latents at a noise level -> the model's velocity.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "models/spec.h"
#include "models/wan/block.h"
#include "models/wan/embeddings.h"
#include "models/wan/head.h"
#include "weights/weight_map.h"

namespace t2v::models::wan {

// How the zero rows behind a prompt take part in cross-attention. All are the same row, so one row
// with log(count) added to its logit gives the same result.
enum class TextPadding { kFolded, kFull };

// Everything of one prompt that does not change between steps (specs: the condition cache).
struct Condition {
  std::vector<CrossKeys> keys;  // one per block
  at::Tensor key_bias;          // fp32 [S], or undefined
};

class Transformer {
 public:
  // Checks all names and shapes, then reads the weights. after_block(done, total) is called between
  // blocks and may throw to stop. Throws Error{kModel}.
  Transformer(const TransformerSpec& spec, const weights::WeightMap& map, at::ScalarType dtype,
              at::Device device, const std::function<void(int64_t, int64_t)>& after_block);
  static weights::Expectations expectations(const TransformerSpec& spec);

  // text_embeddings fp32 [n, text_size], n <= text_len; rows n..text_len are zero rows.
  [[nodiscard]] Condition make_condition(const at::Tensor& text_embeddings, int64_t text_len,
                                         TextPadding padding = TextPadding::kFolded) const;
  [[nodiscard]] TimeModulation make_time(int64_t timestep) const {
    return embeddings_.time(timestep);
  }

  // latents fp32 [C, T, h, w] -> one fp32 [C_out, T, h, w] for each condition, in order.
  // between_blocks is called after each block and may throw to stop.
  [[nodiscard]] std::vector<at::Tensor> forward(const at::Tensor& latents,
                                                const TimeModulation& time,
                                                const std::vector<const Condition*>& conditions,
                                                const ops::RopeTables& rope,
                                                const std::function<void()>& between_blocks) const;

  [[nodiscard]] const TransformerSpec& spec() const noexcept { return spec_; }

 private:
  [[nodiscard]] std::vector<at::Tensor> run(const at::Tensor& latents, const TimeModulation& time,
                                            const std::vector<const Condition*>& conditions,
                                            const ops::RopeTables& rope,
                                            const std::function<void()>& between_blocks) const;

  TransformerSpec spec_;
  Embeddings embeddings_;
  std::vector<Block> blocks_;
  Head head_;
};

}  // namespace t2v::models::wan
