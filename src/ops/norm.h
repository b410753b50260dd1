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

// qkv [L, 3*N*D] -> RMSNorm of q and k across all heads, rotary embedding of q and k, heads split:
// each [N, L, D] in qkv's dtype. norm_q, norm_k fp32 [N*D].
QkvHeads qk_norm_rope(const at::Tensor& qkv, const at::Tensor& norm_q, const at::Tensor& norm_k,
                      const RopeTables& rope, int64_t num_heads, double eps);

// x += branch * gate, x fp32 [L, C] in place; branch [L, C] in any float type; gate fp32 [C], or
// undefined for 1.
void gate_residual_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate);

}  // namespace t2v::ops
