#include "models/wan/block.h"

#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <malloc.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "models/wan/weights.h"
#include "ops/attention.h"
#include "ops/int8.h"
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

// Rows of one sequence that lie in a range of rows of all sequences.
struct Piece {
  size_t sequence = 0;
  int64_t first_token = 0;  // in its sequence
  int64_t offset = 0;       // in the range
  int64_t rows = 0;
};

std::vector<Piece> pieces_of(const RowRange& range, int64_t tokens) {
  std::vector<Piece> pieces;
  for (int64_t row = range.begin; row < range.end;) {
    const int64_t sequence = row / tokens;
    const int64_t end = std::min(range.end, (sequence + 1) * tokens);
    pieces.push_back(
        {static_cast<size_t>(sequence), row - sequence * tokens, row - range.begin, end - row});
    row = end;
  }
  return pieces;
}

at::Tensor rows_of(const at::Tensor& x, const RowRange& range) {
  return x.narrow(0, range.begin, range.end - range.begin);
}

}  // namespace

std::vector<RowRange> row_ranges(int64_t rows) {
  const int64_t count = (rows + kMaxChunkRows - 1) / kMaxChunkRows;
  const int64_t even = (rows + count - 1) / std::max<int64_t>(count, 1);
  const int64_t step = (even + kChunkMultiple - 1) / kChunkMultiple * kChunkMultiple;
  std::vector<RowRange> ranges;
  for (int64_t begin = 0; begin < rows; begin += step)
    ranges.push_back({begin, std::min(rows, begin + step)});
  return ranges;
}

std::vector<RowRange> row_ranges(int64_t rows, int64_t tokens, int64_t held_tokens) {
  if (held_tokens == 0) return row_ranges(rows);
  std::vector<RowRange> ranges;
  const auto add = [&](int64_t first, int64_t count) {
    for (const RowRange& range : row_ranges(count))
      ranges.push_back({first + range.begin, first + range.end});
  };
  for (int64_t sequence = 0; sequence < rows; sequence += tokens) {
    add(sequence, held_tokens);
    add(sequence + held_tokens, tokens - held_tokens);
  }
  return ranges;
}

// Counted by the tensors of self_attention and finish_rows that are alive together.
int64_t block_work_bytes(const TransformerSpec& spec, int64_t rows, int64_t element_bytes,
                         const QuantPlan& quant) {
  const int64_t c = spec.size();
  const bool plain = quant.rows == ops::RowType::kPlain;
  const int64_t row_bytes = plain ? element_bytes : 1;  // of what linear layers take
  const auto ranges = row_ranges(rows);
  const int64_t chunk = ranges.empty() ? 0 : ranges[0].end;
  // q, k, v of all rows beside the packed form of a piece and, from the second piece on, its norm.
  const int64_t norm = ranges.size() > 1 ? chunk * c * row_bytes : 0;
  const int64_t projecting = 3 * (rows + chunk) * c * element_bytes + norm;
  const int64_t attending = 4 * rows * c * element_bytes;  // q, k, v and the result
  // The result of all rows beside what a piece needs: cross-attention, or the feed-forward: its
  // rows, what they become, that as 8-bit rows or the plain result.
  const int64_t feeding =
      plain ? (spec.ffn_size + 2 * c) * element_bytes : spec.ffn_size * (element_bytes + 1) + c;
  const int64_t finishing =
      rows * c * element_bytes + chunk * std::max(4 * c * element_bytes, feeding);
  // The largest weight, expanded for its product.
  const int64_t expanded =
      quant.weights_only ? std::max(3 * c, spec.ffn_size) * c * element_bytes : 0;
  return std::max({projecting, attending, finishing}) + expanded;
}

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
  // What quantising took would stay as holes between the weights.
  if (from.device.is_cpu() && from.quant.is_on()) ::malloc_trim(0);
}

bool Block::is_key_weight(std::string_view name) noexcept {
  for (const char* part : {".cross_attn.k.", ".cross_attn.v.", ".cross_attn.norm_k."})
    if (name.find(part) != std::string_view::npos) return true;
  return false;
}

void Block::load_key_weights(const Placement& from, int64_t index) {
  const std::string p = prefix_of(index);
  Placement plain_rows = from;
  plain_rows.quant = from.quant.with_plain_rows();
  cross_attn_k_ = load_linear(plain_rows, p + "cross_attn.k");
  cross_attn_v_ = load_linear(plain_rows, p + "cross_attn.v");
  cross_attn_norm_k_ = from.fp32(p + "cross_attn.norm_k.weight");
}

std::shared_ptr<const void> Block::take_key_weights() {
  struct KeyWeightTensors {
    ops::Linear k, v;
    at::Tensor norm_k;
  };
  return std::make_shared<const KeyWeightTensors>(
      KeyWeightTensors{std::exchange(cross_attn_k_, {}), std::exchange(cross_attn_v_, {}),
                       std::exchange(cross_attn_norm_k_, at::Tensor())});
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

std::vector<std::pair<RowRange, Block::Modulation>> Block::modulated_ranges(
    int64_t rows, const BlockContext& context) const {
  const int64_t tokens = context.rope->num_tokens();
  const Modulation others = modulate(context.time);
  const Modulation held = context.held_tokens > 0 ? modulate(context.held_time) : Modulation{};
  std::vector<std::pair<RowRange, Modulation>> ranges;
  for (const RowRange& range : row_ranges(rows, tokens, context.held_tokens))
    ranges.emplace_back(range, range.begin % tokens < context.held_tokens ? held : others);
  return ranges;
}

std::vector<ops::QkvHeads> Block::project_heads(const at::Tensor& x,
                                                const BlockContext& context) const {
  const int64_t tokens = context.rope->num_tokens();
  std::vector<ops::QkvHeads> heads(context.prompts.size());
  for (const auto& [range, m] : modulated_ranges(x.size(0), context)) {
    const ops::RowNorm norm{ops::NormKind::kModulate, m.scale_attn, m.shift_attn};
    const at::Tensor qkv = self_attn_qkv_(
        ops::norm_rows(rows_of(x, range), norm, spec_.eps, self_attn_qkv_.row_format()));
    for (const Piece& piece : pieces_of(range, tokens)) {
      ops::QkvHeads& parts = heads[piece.sequence];
      if (!parts.q.defined()) parts = ops::empty_heads(qkv, spec_.num_heads, tokens);
      ops::qk_norm_rope({.qkv = qkv.narrow(0, piece.offset, piece.rows),
                         .norm_q = self_attn_norm_q_,
                         .norm_k = self_attn_norm_k_,
                         .rope = context.rope,
                         .first_token = piece.first_token,
                         .eps = spec_.eps},
                        parts);
    }
  }
  return heads;
}

at::Tensor Block::self_attention(const at::Tensor& x, const BlockContext& context) const {
  std::vector<ops::QkvHeads> heads = project_heads(x, context);
  std::vector<at::Tensor> mixed;
  for (size_t i = 0; i < heads.size(); ++i) {
    ops::QkvHeads parts = std::exchange(heads[i], {});
    if (!context.caches.empty()) {
      mixed.push_back(
          context.caches[i]->attend(context.layer, std::move(parts), context.attention));
      continue;
    }
    // Given away: they go before a result in the back end's layout is copied into ours.
    mixed.push_back(ops::attention(std::move(parts.q), std::move(parts.k), std::move(parts.v), {},
                                   context.attention));
  }
  return join(mixed);
}

void Block::write_keys(const at::Tensor& x, const BlockContext& context) const {
  const auto heads = project_heads(x, context);
  for (size_t i = 0; i < heads.size(); ++i)
    context.caches[i]->write(context.layer, heads[i].k, heads[i].v);
}

at::Tensor Block::cross_attention(ops::Rows normed, const RowRange& range,
                                  const BlockContext& context) const {
  const at::Tensor q =
      ops::rms_norm(cross_attn_q_(std::exchange(normed, {})), cross_attn_norm_q_, spec_.eps);
  const auto backend = context.attention == ops::AttentionBackend::kReference
                           ? context.attention
                           : ops::AttentionBackend::kAuto;
  std::vector<at::Tensor> mixed;
  for (const Piece& piece : pieces_of(range, context.rope->num_tokens())) {
    const at::Tensor heads = q.narrow(0, piece.offset, piece.rows)
                                 .view({piece.rows, spec_.num_heads, spec_.head_size})
                                 .transpose(0, 1);
    const CrossKeys& keys = *context.prompts[piece.sequence];
    mixed.push_back(
        ops::attention(heads, keys.k, keys.v, context.key_bias[piece.sequence], backend));
  }
  return cross_attn_o_(ops::make_rows(join(mixed), cross_attn_o_.row_format()));
}

void Block::finish_rows(at::Tensor x, const at::Tensor& mixed, const Modulation& m,
                        const RowRange& range, const BlockContext& context) const {
  const auto attended = [&] {
    return self_attn_o_(ops::make_rows(mixed, self_attn_o_.row_format()));
  };
  const ops::RowFormat query = cross_attn_q_.row_format();
  ops::Rows normed;
  if (norm3_weight_.defined()) {
    const ops::RowNorm norm3{ops::NormKind::kAffine, norm3_weight_, norm3_bias_};
    normed = ops::gate_residual_norm_rows_(x, attended(), m.gate_attn, norm3, spec_.eps, query);
  } else {
    ops::gate_residual_(x, attended(), m.gate_attn);
    normed = ops::make_rows(x, query);
  }
  const ops::RowNorm ffn_norm{ops::NormKind::kModulate, m.scale_ffn, m.shift_ffn};
  const ops::Rows ffn_in =
      ops::gate_residual_norm_rows_(x, cross_attention(std::move(normed), range, context), {},
                                    ffn_norm, spec_.eps, ffn_0_.row_format());
  const at::Tensor hidden = ffn_0_(ffn_in, ops::Activation::kGeluTanh);
  ffn_2_.add_to(x, ops::make_rows(hidden, ffn_2_.row_format()), m.gate_ffn);
}

void Block::run(at::Tensor& x, const BlockContext& context) const {
  const at::Tensor mixed = self_attention(x, context);
  for (const auto& [range, m] : modulated_ranges(x.size(0), context))
    finish_rows(rows_of(x, range), rows_of(mixed, range), m, range, context);
}

}  // namespace t2v::models::wan
