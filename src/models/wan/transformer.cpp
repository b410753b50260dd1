#include "models/wan/transformer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "core/check.h"

namespace t2v::models::wan {
namespace {

// Branches share the products of short sequences; long ones gain nothing and would only take
// memory.
constexpr int64_t kMaxSharedTokens = 1024;

// Runs before any weight is read, so that a wrong file is named at once.
const weights::WeightMap& checked(const weights::WeightMap& map, const TransformerSpec& spec) {
  map.check(Transformer::expectations(spec));
  return map;
}

}  // namespace

weights::Expectations Transformer::expectations(const TransformerSpec& spec) {
  weights::Expectations expected;
  Embeddings::expect(spec, expected);
  for (int64_t i = 0; i < spec.num_blocks; ++i) Block::expect(spec, i, expected);
  Head::expect(spec, expected);
  return expected;
}

Transformer::Transformer(const TransformerSpec& spec, const weights::WeightMap& map,
                         at::ScalarType dtype, at::Device device,
                         const std::function<void(int64_t, int64_t)>& after_block)
    : spec_(spec), embeddings_(spec, checked(map, spec), dtype, device), head_(spec, map, device) {
  blocks_.reserve(static_cast<size_t>(spec.num_blocks));
  for (int64_t i = 0; i < spec.num_blocks; ++i) {
    blocks_.emplace_back(spec, map, i, dtype, device);
    after_block(i + 1, spec.num_blocks);
  }
}

Condition Transformer::make_condition(const at::Tensor& text_embeddings, int64_t text_len,
                                      TextPadding padding) const {
  const int64_t n = text_embeddings.size(0);
  T2V_ASSERT(n <= text_len && text_embeddings.size(1) == spec_.text_size);
  const int64_t pads = text_len - n;
  const int64_t pad_rows = padding == TextPadding::kFolded ? std::min<int64_t>(pads, 1) : pads;
  const at::Tensor rows =
      at::cat({text_embeddings, at::zeros({pad_rows, spec_.text_size}, text_embeddings.options())});
  const at::Tensor text = embeddings_.text(rows);
  Condition condition;
  for (const Block& block : blocks_) condition.keys.push_back(block.make_keys(text));
  if (pads > pad_rows) {
    condition.key_bias = at::zeros({n + pad_rows}, at::kFloat);
    condition.key_bias[n] = std::log(static_cast<double>(pads));
    condition.key_bias = condition.key_bias.to(text.device());
  }
  return condition;
}

std::vector<at::Tensor> Transformer::forward(const at::Tensor& latents, const TimeModulation& time,
                                             const std::vector<const Condition*>& conditions,
                                             const ops::RopeTables& rope,
                                             const std::function<void()>& between_blocks) const {
  if (rope.num_tokens() <= kMaxSharedTokens)
    return run(latents, time, conditions, rope, between_blocks);
  std::vector<at::Tensor> outputs;
  for (const Condition* condition : conditions)
    outputs.push_back(run(latents, time, {condition}, rope, between_blocks).front());
  return outputs;
}

std::vector<at::Tensor> Transformer::run(const at::Tensor& latents, const TimeModulation& time,
                                         const std::vector<const Condition*>& conditions,
                                         const ops::RopeTables& rope,
                                         const std::function<void()>& between_blocks) const {
  T2V_ASSERT(latents.scalar_type() == at::kFloat && latents.size(0) == spec_.in_channels);
  const int64_t num_sequences = static_cast<int64_t>(conditions.size());
  at::Tensor x = embeddings_.patches(latents);  // [L, C]
  if (num_sequences > 1) x = x.repeat({num_sequences, 1});
  BlockContext context;
  context.rope = &rope;
  context.time = time.blocks;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    context.prompts.clear();
    context.key_bias.clear();
    for (const Condition* condition : conditions) {
      context.prompts.push_back(&condition->keys[i]);
      context.key_bias.push_back(condition->key_bias);
    }
    blocks_[i].run(x, context);
    between_blocks();
  }
  std::vector<at::Tensor> outputs;
  for (const at::Tensor& tokens : head_(x, time.head).chunk(num_sequences))
    outputs.push_back(unpatchify(tokens, spec_, latents.size(1), latents.size(2), latents.size(3)));
  return outputs;
}

}  // namespace t2v::models::wan
