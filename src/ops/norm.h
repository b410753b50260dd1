// Norms of the transformer and the text encoder: check, choose, call. Statistics in fp32.
#pragma once

#include "ops/backend.h"

namespace t2v::ops {

// (x - mean) * rsqrt(var + eps) * (1 + scale) + shift over the last dimension; fp32 inside, rounded
// once to `out`. x [L, C]; scale, shift fp32 [C]. Adaptive LayerNorm of DiT (Peebles & Xie 2022).
at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale,
                               const at::Tensor& shift, double eps, at::ScalarType out);

// LayerNorm with weight and bias (fp32 [C]); fp32 inside, rounded once to `out`. x [L, C].
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, at::ScalarType out);

// x * rsqrt(mean(x^2) + eps) * weight over the last dimension; fp32 inside, rounded once to x's
// dtype. x [L, C], rows may be strided; weight fp32 [C].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// RMSNorm of q and k across all heads, rotary embedding of q and k, heads split. Writes the tokens
// of in.qkv to their places in out.q, out.k, out.v: each [N, L, D] in qkv's dtype, contiguous, L
// the whole sequence of in.rope; other tokens stay as they are.
void qk_norm_rope(const QkNormRope& in, const QkvHeads& out);

// Room for qk_norm_rope's results: a sequence of rope's tokens.
QkvHeads empty_heads(const at::Tensor& qkv, int64_t num_heads, int64_t num_tokens);

// x += branch * gate, x fp32 [L, C] in place; branch [L, C] in any float type; gate fp32 [C], or
// undefined for 1.
void gate_residual_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate);

// gate_residual_, then the LayerNorm of the new x (statistics of the sums as they are stored),
// rounded once to `out`.
at::Tensor gate_residual_norm_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate,
                               const RowNorm& norm, double eps, at::ScalarType out);

// The LayerNorm of x [L, C], rotated within consecutive groups of columns (a power of 4 up to 256;
// 0: not) by a symmetric orthogonal matrix that is its own inverse, and quantised row by row to
// int8: rows for weights that were rotated alike.
QuantisedRows layer_norm_quantise(const at::Tensor& x, const RowNorm& norm, double eps,
                                  int64_t rotation_group);

}  // namespace t2v::ops
