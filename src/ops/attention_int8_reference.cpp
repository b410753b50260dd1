#include "ops/attention_int8_reference.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace t2v::ops::reference {
namespace {

constexpr double kLargest = 127.0;
constexpr double kSmallestScale = 1e-7;
constexpr double kLog2E = 1.4426950408889634;
constexpr int64_t kScoreBytes = int64_t{256} << 20;  // scores and weights: twice this

// One scale per row, [N, L, 1]
at::Tensor per_row(const at::Tensor& scale, int64_t group_rows, int64_t rows) {
  return scale.repeat_interleave(group_rows, 1).narrow(1, 0, rows).unsqueeze(-1);
}

struct Operands {
  at::Tensor q;        // whole numbers in fp32 [N, L, D]
  at::Tensor q_scale;  // with 1/sqrt(D) and log2(e), [N, L, 1]
  at::Tensor k;        // whole numbers in fp32 [N, S, D]
  at::Tensor k_scale;  // [N, 1, S]
  at::Tensor v;        // fp32 [N, S, D]
  at::ScalarType type = at::kFloat;
};

Operands prepare(const AttentionInputs& in, const at::Tensor& mean) {
  const QuantisedHeads q = quantise_heads(in.q, {}, kInt8QueryGroup);
  const QuantisedHeads k = quantise_heads(in.k, mean, kInt8KeyGroup);
  const double factor = kLog2E / std::sqrt(static_cast<double>(in.q.size(2)));
  return {q.values.to(at::kFloat), per_row(q.scale * factor, kInt8QueryGroup, in.q.size(1)),
          k.values.to(at::kFloat), per_row(k.scale, kInt8KeyGroup, in.k.size(1)).transpose(1, 2),
          in.v.to(at::kFloat),     in.v.scalar_type()};
}

// [heads, queries, D]; the products of whole numbers are exact in fp32.
at::Tensor attend(const Operands& all, const at::Tensor& lse, int64_t head, int64_t query) {
  const auto rows = [&](const at::Tensor& x) {
    return x.narrow(0, head, lse.size(0)).narrow(1, query, lse.size(1));
  };
  const auto heads = [&](const at::Tensor& x) { return x.narrow(0, head, lse.size(0)); };
  at::Tensor scores = at::matmul(rows(all.q), heads(all.k).transpose(1, 2));
  scores.mul_(rows(all.q_scale)).mul_(heads(all.k_scale));
  const at::Tensor largest = scores.amax(-1, /*keepdim=*/true);
  scores.sub_(largest).exp2_();
  const at::Tensor sum = scores.sum(-1, /*keepdim=*/true);
  lse.copy_((largest / kLog2E + sum.log()).squeeze(-1));
  if (all.type != at::kFloat) scores.copy_(scores.to(all.type));
  return at::matmul(scores, heads(all.v)).div_(sum);
}

}  // namespace

QuantisedHeads quantise_heads(const at::Tensor& x, const at::Tensor& mean, int64_t group_rows) {
  const int64_t rows = x.size(1);
  const int64_t groups = (rows + group_rows - 1) / group_rows;
  at::Tensor wide = x.to(at::kFloat);
  if (mean.defined()) wide = wide - mean.unsqueeze(1);
  const at::Tensor row_max = wide.abs().amax(-1);  // [N, L]
  const at::Tensor padded = at::constant_pad_nd(row_max, {0, groups * group_rows - rows});
  const at::Tensor scale =
      padded.view({x.size(0), groups, group_rows}).amax(-1) / kLargest + kSmallestScale;
  const at::Tensor inverse = per_row(scale.reciprocal(), group_rows, rows);
  return {(wide * inverse).round_().clamp_(-kLargest, kLargest).to(at::kChar), scale};
}

at::Tensor attention_int8(const AttentionInputs& in, const at::Tensor& lse,
                          KeySmoothing smoothing) {
  T2V_ASSERT(!in.key_bias.defined() && !in.lut.defined());
  const int64_t num_heads = in.q.size(0);
  const int64_t num_queries = in.q.size(1);
  const bool smooth = smoothing == KeySmoothing::kMean;
  const at::Tensor mean = smooth ? in.k.mean(1, /*keepdim=*/false, at::kFloat) : at::Tensor();
  const Operands all = prepare(in, mean);
  const int64_t row_bytes = in.k.size(1) * static_cast<int64_t>(sizeof(float));
  const int64_t heads = num_heads * num_queries * row_bytes <= kScoreBytes ? num_heads : 1;
  const int64_t queries = std::clamp<int64_t>(kScoreBytes / (heads * row_bytes),
                                              std::min(kInt8QueryGroup, num_queries), num_queries);
  const at::Tensor out = at::empty({num_queries, num_heads, in.q.size(2)}, in.q.options());
  const at::Tensor sums =
      lse.defined() ? lse : at::empty({num_heads, num_queries}, in.q.options().dtype(at::kFloat));
  for (int64_t head = 0; head < num_heads; head += heads) {
    for (int64_t query = 0; query < num_queries; query += queries) {
      const int64_t count = std::min(queries, num_queries - query);
      const at::Tensor part = sums.narrow(0, head, heads).narrow(1, query, count);
      out.narrow(0, query, count)
          .narrow(1, head, heads)
          .copy_(attend(all, part, head, query).transpose(0, 1));
    }
  }
  if (lse.defined() && smooth) {
    const double sigma = 1.0 / std::sqrt(static_cast<double>(in.q.size(2)));
    lse.add_(at::matmul(in.q.to(at::kFloat), mean.unsqueeze(-1)).squeeze(-1), sigma);
  }
  return out.flatten(1);
}

}  // namespace t2v::ops::reference
