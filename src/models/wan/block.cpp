#include "models/wan/block.h"

#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>

#include "core/check.h"
#include "models/wan/weights.h"
#include "ops/attention.h"
#include "ops/norm.h"

namespace t2v::models::wan {
namespace {

std::string prefix_of(int64_t index) { return core::str("blocks.", index, "."); }

// [S, N*D] -> [N, S, D] contiguous.
at::Tensor split_heads(const at::Tensor& x, int64_t num_heads) {
  return x.view({x.size(0), num_heads, -1}).transpose(0, 1).contiguous();
}

at::Tensor join(const std::vector<at::Tensor>& parts) {
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

}  // namespace

void Block::expect(const TransformerSpec& spec, int64_t index, weights::Expectations& expected) {
  const std::string p = prefix_of(index);
  const int64_t c = spec.size();
  expected.tensors.push_back({p + "modulation", {1, 6, c}});
  for (const char* attention : {"self_attn.", "cross_attn."}) {
    for (const char* part : {"q", "k", "v", "o"})
      expect_linear(p + attention + part, c, c, expected);
    expected.tensors.push_back({p + attention + "norm_q.weight", {c}});
    expected.tensors.push_back({p + attention + "norm_k.weight", {c}});
  }
  if (spec.cross_attn_norm) {
    expected.tensors.push_back({p + "norm3.weight", {c}});
    expected.tensors.push_back({p + "norm3.bias", {c}});
  }
  expect_linear(p + "ffn.0", spec.ffn_size, c, expected);
  expect_linear(p + "ffn.2", c, spec.ffn_size, expected);
}

Block::Block(const TransformerSpec& spec, const Placement& from, int64_t index, KeyWeights keys)
    : spec_(spec), dtype_(from.dtype) {
  const std::string p = prefix_of(index);
  modulation_ = from.fp32(p + "modulation").squeeze(0);
  self_attn_qkv_ =
      load_packed_linear(from, {p + "self_attn.q", p + "self_attn.k", p + "self_attn.v"});
  self_attn_o_ = load_linear(from, p + "self_attn.o");
  self_attn_norm_q_ = from.fp32(p + "self_attn.norm_q.weight");
  self_attn_norm_k_ = from.fp32(p + "self_attn.norm_k.weight");
  if (spec.cross_attn_norm) {
    norm3_weight_ = from.fp32(p + "norm3.weight");
    norm3_bias_ = from.fp32(p + "norm3.bias");
  }
  cross_attn_q_ = load_linear(from, p + "cross_attn.q");
  cross_attn_o_ = load_linear(from, p + "cross_attn.o");
  cross_attn_norm_q_ = from.fp32(p + "cross_attn.norm_q.weight");
  ffn_0_ = load_linear(from, p + "ffn.0");
  ffn_2_ = load_linear(from, p + "ffn.2");
  if (keys == KeyWeights::kWith) load_key_weights(from, index);
}

bool Block::is_key_weight(std::string_view name) noexcept {
  for (const char* part : {".cross_attn.k.", ".cross_attn.v.", ".cross_attn.norm_k."})
    if (name.find(part) != std::string_view::npos) return true;
  return false;
}

void Block::load_key_weights(const Placement& from, int64_t index) {
  const std::string p = prefix_of(index);
  cross_attn_k_ = load_linear(from, p + "cross_attn.k");
  cross_attn_v_ = load_linear(from, p + "cross_attn.v");
  cross_attn_norm_k_ = from.fp32(p + "cross_attn.norm_k.weight");
}

void Block::drop_key_weights() noexcept {
  cross_attn_k_ = {};
  cross_attn_v_ = {};
  cross_attn_norm_k_ = at::Tensor();
}

CrossKeys Block::make_keys(const at::Tensor& text) const {
  const at::Tensor k = ops::rms_norm(cross_attn_k_(text), cross_attn_norm_k_, spec_.eps);
  return {split_heads(k, spec_.num_heads), split_heads(cross_attn_v_(text), spec_.num_heads)};
}

Block::Modulation Block::modulate(const at::Tensor& time) const {
  const auto rows = at::add(modulation_, time).unbind(0);
  return {.shift_attn = rows[0],
          .scale_attn = rows[1],
          .gate_attn = rows[2],
          .shift_ffn = rows[3],
          .scale_ffn = rows[4],
          .gate_ffn = rows[5]};
}

at::Tensor Block::self_attention(const at::Tensor& normed, const BlockContext& context) const {
  const at::Tensor qkv = self_attn_qkv_(normed);
  const int64_t tokens = context.rope->num_tokens();
  std::vector<at::Tensor> mixed;
  for (size_t b = 0; b < context.prompts.size(); ++b) {
    const auto heads = ops::qk_norm_rope(qkv.narrow(0, static_cast<int64_t>(b) * tokens, tokens),
                                         self_attn_norm_q_, self_attn_norm_k_, *context.rope,
                                         spec_.num_heads, spec_.eps);
    mixed.push_back(ops::attention(heads.q, heads.k, heads.v));
  }
  return self_attn_o_(join(mixed));
}

at::Tensor Block::cross_attention(const at::Tensor& normed, const BlockContext& context) const {
  const at::Tensor q = ops::rms_norm(cross_attn_q_(normed), cross_attn_norm_q_, spec_.eps);
  const int64_t tokens = context.rope->num_tokens();
  std::vector<at::Tensor> mixed;
  for (size_t b = 0; b < context.prompts.size(); ++b) {
    const at::Tensor heads = q.narrow(0, static_cast<int64_t>(b) * tokens, tokens)
                                 .view({tokens, spec_.num_heads, spec_.head_size})
                                 .transpose(0, 1);
    mixed.push_back(
        ops::attention(heads, context.prompts[b]->k, context.prompts[b]->v, context.key_bias[b]));
  }
  return cross_attn_o_(join(mixed));
}

void Block::run(at::Tensor& x, const BlockContext& context) const {
  const Modulation m = modulate(context.time);
  ops::gate_residual_(
      x,
      self_attention(ops::layer_norm_modulate(x, m.scale_attn, m.shift_attn, spec_.eps, dtype_),
                     context),
      m.gate_attn);
  const at::Tensor normed = norm3_weight_.defined()
                                ? ops::layer_norm(x, norm3_weight_, norm3_bias_, spec_.eps, dtype_)
                                : x.to(dtype_);
  ops::gate_residual_(x, cross_attention(normed, context), {});
  const at::Tensor ffn_in =
      ops::layer_norm_modulate(x, m.scale_ffn, m.shift_ffn, spec_.eps, dtype_);
  ops::gate_residual_(x, ffn_2_(ffn_0_(ffn_in, ops::Activation::kGeluTanh)), m.gate_ffn);
}

}  // namespace t2v::models::wan
