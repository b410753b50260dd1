#include "models/umt5/block.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/check.h"
#include "ops/norm.h"
#include "ops/op_timer.h"

namespace t2v::models::umt5 {
namespace {

std::string prefix_of(int64_t index) { return core::str("blocks.", index, "."); }

int64_t bucket_of(int64_t relative, const TextEncoderSpec& spec) {
  const int64_t half = spec.num_buckets / 2;  // one half for keys behind, one for keys ahead
  const int64_t exact = half / 2;  // small distances have a bucket each, larger ones share
  const int64_t side = relative > 0 ? half : 0;
  const int64_t distance = std::abs(relative);
  if (distance < exact) return side + distance;
  const double ratio =
      std::log(static_cast<double>(distance) / static_cast<double>(exact)) /
      std::log(static_cast<double>(spec.max_distance) / static_cast<double>(exact));
  // The reference computes this in fp32; whole values are hit exactly there, so round-off is
  // removed.
  const auto large =
      exact + static_cast<int64_t>(static_cast<float>(ratio) * static_cast<float>(half - exact));
  return side + std::min(large, half - 1);
}

at::Tensor split_heads(const at::Tensor& x, const TextEncoderSpec& spec) {
  return x.view({x.size(0), spec.num_heads, spec.head_size}).transpose(0, 1);
}

at::Tensor self_attention(const BlockWeights& w, const TextEncoderSpec& spec,
                          const at::Tensor& normed, const at::Tensor& buckets) {
  const at::Tensor q = split_heads(at::linear(normed, w.q), spec);
  const at::Tensor k = split_heads(at::linear(normed, w.k), spec);
  const at::Tensor v = split_heads(at::linear(normed, w.v), spec);
  const at::Tensor bias = at::embedding(w.pos_embedding, buckets).permute({2, 0, 1});  // [N, n, n]
  // T5 does not scale by 1/sqrt(D). Scores and softmax in fp32.
  const at::Tensor scores = at::matmul(q.to(at::kFloat), k.to(at::kFloat).transpose(1, 2)) + bias;
  const at::Tensor mixed =
      at::matmul(at::softmax(scores, -1), v.to(at::kFloat)).to(normed.scalar_type());
  return at::linear(mixed.transpose(0, 1).reshape({normed.size(0), -1}), w.o);
}

double block_flop(const TextEncoderSpec& spec, int64_t rows) {
  const int64_t inner = spec.num_heads * spec.head_size;
  return ops::product_flop(rows, spec.size, 4 * inner + 3 * spec.ffn_size) +
         2 * ops::product_flop(rows, inner, rows);
}

}  // namespace

void expect_block(const TextEncoderSpec& spec, int64_t index, weights::Expectations& expected) {
  const std::string p = prefix_of(index);
  const int64_t inner = spec.num_heads * spec.head_size;
  auto& t = expected.tensors;
  t.push_back({p + "norm1.weight", {spec.size}});
  t.push_back({p + "norm2.weight", {spec.size}});
  for (const char* name : {"attn.q.weight", "attn.k.weight", "attn.v.weight"})
    t.push_back({p + name, {inner, spec.size}});
  t.push_back({p + "attn.o.weight", {spec.size, inner}});
  t.push_back({p + "pos_embedding.embedding.weight", {spec.num_buckets, spec.num_heads}});
  t.push_back({p + "ffn.gate.0.weight", {spec.ffn_size, spec.size}});
  t.push_back({p + "ffn.fc1.weight", {spec.ffn_size, spec.size}});
  t.push_back({p + "ffn.fc2.weight", {spec.size, spec.ffn_size}});
}

BlockWeights load_block(const Placement& from, int64_t index) {
  const std::string p = prefix_of(index);
  const at::ScalarType dtype = from.dtype;
  const auto take = [&](const char* name, at::ScalarType type) {
    return from.borrowed(p + name, type);
  };
  return {.norm1 = take("norm1.weight", at::kFloat),
          .norm2 = take("norm2.weight", at::kFloat),
          .q = take("attn.q.weight", dtype),
          .k = take("attn.k.weight", dtype),
          .v = take("attn.v.weight", dtype),
          .o = take("attn.o.weight", dtype),
          .pos_embedding = take("pos_embedding.embedding.weight", at::kFloat),
          .gate = take("ffn.gate.0.weight", dtype),
          .fc1 = take("ffn.fc1.weight", dtype),
          .fc2 = take("ffn.fc2.weight", dtype)};
}

at::Tensor relative_buckets(int64_t n, const TextEncoderSpec& spec) {
  at::Tensor buckets = at::empty({n, n}, at::kLong);
  auto* out = buckets.mutable_data_ptr<int64_t>();
  for (int64_t query = 0; query < n; ++query)
    for (int64_t key = 0; key < n; ++key) out[query * n + key] = bucket_of(key - query, spec);
  return buckets;
}

at::Tensor run_block(const BlockWeights& w, const TextEncoderSpec& spec, const at::Tensor& x,
                     const at::Tensor& buckets) {
  const ops::TimedOp timed("text_block", x, block_flop(spec, x.size(0)));
  const auto dtype = w.q.scalar_type();
  // The residual stream stays fp32: fp16 and even bf16 sums of large activations lose the small
  // ones.
  const at::Tensor attended =
      x + self_attention(w, spec, ops::rms_norm(x, w.norm1, spec.eps).to(dtype), buckets)
              .to(at::kFloat);
  const at::Tensor normed = ops::rms_norm(attended, w.norm2, spec.eps).to(dtype);
  const at::Tensor hidden =
      at::gelu(at::linear(normed, w.gate), "tanh").mul_(at::linear(normed, w.fc1));
  return attended + at::linear(hidden, w.fc2).to(at::kFloat);
}

}  // namespace t2v::models::umt5
