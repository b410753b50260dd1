// Composed twins of the fused ops: plain ATen, any device. They are the specification, the oracle
// of the tests, and the path of T2V_BACKEND=reference.
#include <ATen/ATen.h>

#include "ops/backend.h"
#include "ops/int8_reference.h"
#include "ops/reference_video.h"

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

void qk_norm_rope(const QkNormRope& in, const QkvHeads& out) {
  const auto parts = in.qkv.chunk(3, -1);
  const int64_t rows = in.qkv.size(0);
  const auto angles = [&](const at::Tensor& frame, const at::Tensor& row,
                          const at::Tensor& column) {
    return expand_tables(frame, row, column).narrow(0, in.first_token, rows);
  };
  const at::Tensor cos = angles(in.rope->cos_frame, in.rope->cos_row, in.rope->cos_column);
  const at::Tensor sin = angles(in.rope->sin_frame, in.rope->sin_row, in.rope->sin_column);
  const auto heads = [&](const at::Tensor& x) { return x.unflatten(-1, {out.q.size(0), -1}); };
  const auto finish = [&](const at::Tensor& x, const at::Tensor& to) {
    to.narrow(1, in.first_token, rows).copy_(x.transpose(0, 1));
  };
  finish(rotate(heads(rms_normalise(parts[0], in.norm_q, in.eps)), cos, sin), out.q);
  finish(rotate(heads(rms_normalise(parts[1], in.norm_k, in.eps)), cos, sin), out.k);
  finish(heads(parts[2]), out.v);
}

void gate_residual_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate) {
  const at::Tensor wide = branch.to(at::kFloat);
  x.add_(gate.defined() ? wide * gate : wide);
}

at::Tensor gate_residual_norm_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate,
                               const RowNorm& norm, double eps, at::ScalarType out) {
  gate_residual_(x, branch, gate);
  return norm.kind == NormKind::kModulate ? layer_norm_modulate(x, norm.a, norm.b, eps, out)
                                          : layer_norm(x, norm.a, norm.b, eps, out);
}

QuantisedRows layer_norm_quantise(const at::Tensor& x, const RowNorm& norm, double eps,
                                  int64_t rotation_group) {
  const at::Tensor y = norm.kind == NormKind::kModulate
                           ? layer_norm_modulate(x, norm.a, norm.b, eps, at::kFloat)
                           : layer_norm(x, norm.a, norm.b, eps, at::kFloat);
  return reference::quantise_rows(y, rotation_group);
}

QuantisedRows gate_residual_norm_quantise_(at::Tensor& x, const at::Tensor& branch,
                                           const at::Tensor& gate, const RowNorm& norm, double eps,
                                           int64_t rotation) {
  gate_residual_(x, branch, gate);
  return layer_norm_quantise(x, norm, eps, rotation);
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
      .gate_residual_norm_ = gate_residual_norm_,
      .layer_norm_quantise = layer_norm_quantise,
      .vae_norm = reference::vae_norm,
      .add_bias_residual = reference::add_bias_residual,
      .frames_to_rgb8 = reference::frames_to_rgb8,
      .solver_step = reference::solver_step,
      .quantise_rows = reference::quantise_rows,
      .gate_residual_norm_quantise_ = gate_residual_norm_quantise_,
      .pack_int8 = reference::pack_int8,
      .int8_linear = reference::int8_linear,
      .int8_linear_residual_ = reference::int8_linear_residual_,
      .expand_int8 = reference::expand_int8,
      .quantise_rows_fp8 = reference::quantise_rows_fp8,
      .fp8_linear = reference::fp8_linear,
  };
  return kTable;
}

}  // namespace t2v::ops
