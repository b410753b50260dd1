// Rows and weights of 8 bits: check, choose, call. Producers give a linear layer the rows that its
// format asks for.
#pragma once

#include "ops/backend.h"

namespace t2v::ops {

// The widest group of 256, 64, 16, 4 that is no wider than `wanted` and divides `width`; else 0.
int64_t rotation_group(int64_t wanted, int64_t width) noexcept;

// x [L, C] fp32, bf16 or fp16, rows may be strided: each row rotated, then as int8 with the scale
// max(max|z|, 1e-5) / 127.
QuantisedRows quantise_rows(const at::Tensor& x, int64_t rotation);
// The same in e4m3 with / 448. Throws Error{kDevice} where a device has no such product.
QuantisedRows quantise_rows_fp8(const at::Tensor& x, int64_t rotation);

// x [L, C] in the format.
Rows make_rows(const at::Tensor& x, const RowFormat& format);
// The LayerNorm of x in the format, no rounding between norm and quantisation to int8.
Rows norm_rows(const at::Tensor& x, const RowNorm& norm, double eps, const RowFormat& format);
// gate_residual_ (ops/norm.h), then norm_rows of the new x.
Rows gate_residual_norm_rows_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate,
                              const RowNorm& norm, double eps, const RowFormat& format);

// int8 [N, K] as the device's product wants it: itself, or a copy in another order.
Int8Weight pack_int8(const QuantisedRows& weight);
// [L, N] in product.out.
at::Tensor int8_linear(const Int8Product& product);
// x fp32 [L, N] += gate * product; gate fp32 [N], or undefined for 1.
void int8_linear_residual_(at::Tensor& x, const Int8Product& product, const at::Tensor& gate);
at::Tensor fp8_linear(const Int8Product& product);
// W [N, K] in `out`; the weight is not packed.
at::Tensor expand_int8(const Int8Weight& weight, int64_t rotation, at::ScalarType out);

}  // namespace t2v::ops
