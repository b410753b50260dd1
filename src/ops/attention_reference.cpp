#include "ops/attention_reference.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"

namespace t2v::ops::reference {
namespace {

constexpr int64_t kQueryBlock = 128;
constexpr int64_t kKeyBlock = 64;
constexpr int64_t kScoreBytes = int64_t{256} << 20;  // scores and probabilities: twice this

int64_t blocks(int64_t rows, int64_t block) { return (rows + block - 1) / block; }

struct Range {
  int64_t head, num_heads, query, num_queries;
};

// Which keys the range's queries may see, [1 or heads, queries, S]: false is -inf.
at::Tensor visible_keys(const at::Tensor& mask, const Range& range, int64_t num_keys) {
  const at::Tensor heads = mask.size(0) == 1 ? mask : mask.narrow(0, range.head, range.num_heads);
  const at::Tensor rows =
      at::arange(range.query, range.query + range.num_queries, mask.options().dtype(at::kLong))
          .div(kQueryBlock, "floor");
  return heads.index_select(1, rows).repeat_interleave(kKeyBlock, 2).narrow(2, 0, num_keys);
}

// [heads, queries, D]; fills the range of lse when there is one.
at::Tensor attend(const AttentionInputs& in, const at::Tensor& mask, const Range& range,
                  const at::Tensor& lse) {
  const at::ScalarType type = in.q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto heads = [&](const at::Tensor& x) { return x.narrow(0, range.head, range.num_heads); };
  const double scale = 1.0 / std::sqrt(static_cast<double>(in.q.size(2)));
  const at::Tensor q = heads(in.q).narrow(1, range.query, range.num_queries).to(type) * scale;
  at::Tensor scores = at::matmul(q, heads(in.k).to(type).transpose(1, 2));
  if (in.key_bias.defined()) scores.add_(in.key_bias);
  if (mask.defined())
    scores.masked_fill_(visible_keys(mask, range, in.k.size(1)).logical_not(),
                        -std::numeric_limits<double>::infinity());
  if (lse.defined())
    heads(lse).narrow(1, range.query, range.num_queries).copy_(at::logsumexp(scores, -1));
  return at::matmul(at::softmax(scores, -1), heads(in.v).to(type));
}

}  // namespace

at::Tensor block_mask(const AttentionInputs& in) {
  if (!in.lut.defined()) return {};
  const int64_t most = in.lut.size(2);
  const at::Tensor used =
      at::arange(most, in.lut.options()).view({1, 1, -1}).lt(in.counts.unsqueeze(-1));
  // Unused entries go to a column behind the last block, which is dropped.
  const int64_t num_blocks = blocks(in.k.size(1), kKeyBlock);
  const at::Tensor index = at::where(used, in.lut.to(at::kLong), num_blocks);
  return at::zeros({in.lut.size(0), in.lut.size(1), num_blocks + 1},
                   in.lut.options().dtype(at::kBool))
      .scatter(2, index, true)
      .narrow(2, 0, num_blocks);
}

at::Tensor attention(const AttentionInputs& in, const at::Tensor& mask, const at::Tensor& lse) {
  const int64_t num_heads = in.q.size(0);
  const int64_t num_queries = in.q.size(1);
  const int64_t num_keys = in.k.size(1);
  T2V_ASSERT(!mask.defined() || (mask.size(1) == blocks(num_queries, kQueryBlock) &&
                                 mask.size(2) == blocks(num_keys, kKeyBlock)));
  // All heads together while the whole fits, else head by head.
  const int64_t row_bytes = num_keys * static_cast<int64_t>(sizeof(float));
  const int64_t heads = num_heads * num_queries * row_bytes <= kScoreBytes ? num_heads : 1;
  const int64_t queries = std::clamp<int64_t>(kScoreBytes / (heads * row_bytes), 1, num_queries);
  const at::Tensor out = at::empty({num_queries, num_heads, in.q.size(2)}, in.q.options());
  for (int64_t head = 0; head < num_heads; head += heads) {
    for (int64_t query = 0; query < num_queries; query += queries) {
      const Range range{head, heads, query, std::min(queries, num_queries - query)};
      out.narrow(0, query, range.num_queries)
          .narrow(1, head, heads)
          .copy_(attend(in, mask, range, lse).transpose(0, 1));
    }
  }
  return out.flatten(1);
}

}  // namespace t2v::ops::reference
