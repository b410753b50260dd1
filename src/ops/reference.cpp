// Composed twins of the fused ops: plain ATen, any device. They are the specification, the oracle
// of the tests, and the path of T2V_BACKEND=reference.
#include <ATen/ATen.h>

#include "ops/backend.h"

namespace t2v::ops {
namespace {

at::Tensor normalise(const at::Tensor& x, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor centred = wide - wide.mean(-1, true);
  return centred * at::rsqrt(centred.square().mean(-1, true) + eps);
}

at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale,
                               const at::Tensor& shift, double eps, at::ScalarType out) {
  return (normalise(x, eps) * (1 + scale) + shift).to(out);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, at::ScalarType out) {
  return (normalise(x, eps) * weight + bias).to(out);
}

at::Tensor rms_normalise(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  return wide * at::rsqrt(wide.square().mean(-1, true) + eps) * weight;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return rms_normalise(x, weight, eps).to(x.scalar_type());
}

// [F, pairs], [H, pairs], [W, pairs] -> [F*H*W, D/2].
at::Tensor expand_tables(const at::Tensor& frame, const at::Tensor& row, const at::Tensor& column) {
  const int64_t f = frame.size(0);
  const int64_t h = row.size(0);
  const int64_t w = column.size(0);
  return at::cat({frame.view({f, 1, 1, -1}).expand({f, h, w, -1}),
                  row.view({1, h, 1, -1}).expand({f, h, w, -1}),
                  column.view({1, 1, w, -1}).expand({f, h, w, -1})},
                 -1)
      .reshape({f * h * w, -1});
}

// x [L, N, D] fp32, cos and sin [L, D/2]: rotates the pairs (x[2j], x[2j+1]).
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto pairs = x.unflatten(-1, {-1, 2}).unbind(-1);
  const at::Tensor c = cos.unsqueeze(1);
  const at::Tensor s = sin.unsqueeze(1);
  return at::stack({pairs[0] * c - pairs[1] * s, pairs[0] * s + pairs[1] * c}, -1).flatten(-2);
}

QkvHeads qk_norm_rope(const at::Tensor& qkv, const at::Tensor& norm_q, const at::Tensor& norm_k,
                      const RopeTables& rope, int64_t num_heads, double eps) {
  const auto parts = qkv.chunk(3, -1);
  const at::Tensor cos = expand_tables(rope.cos_frame, rope.cos_row, rope.cos_column);
  const at::Tensor sin = expand_tables(rope.sin_frame, rope.sin_row, rope.sin_column);
  const auto heads = [&](const at::Tensor& x) { return x.unflatten(-1, {num_heads, -1}); };
  const auto finish = [&](const at::Tensor& x) {
    return x.to(qkv.scalar_type()).transpose(0, 1).contiguous();
  };
  return {finish(rotate(heads(rms_normalise(parts[0], norm_q, eps)), cos, sin)),
          finish(rotate(heads(rms_normalise(parts[1], norm_k, eps)), cos, sin)),
          finish(heads(parts[2]))};
}

void gate_residual_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate) {
  const at::Tensor wide = branch.to(at::kFloat);
  x.add_(gate.defined() ? wide * gate : wide);
}

}  // namespace

const OpTable& reference_ops() {
  static constexpr OpTable kTable{
      .name = "reference",
      .layer_norm_modulate = layer_norm_modulate,
      .layer_norm = layer_norm,
      .rms_norm = rms_norm,
      .qk_norm_rope = qk_norm_rope,
      .gate_residual_ = gate_residual_,
  };
  return kTable;
}

}  // namespace t2v::ops
