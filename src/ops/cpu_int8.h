// 8-bit ops of the CPU table (ops/int8.h): rows in the first cache level, products in pieces that
// stay in the second.
#pragma once

#include "ops/backend.h"

namespace t2v::ops::cpu {

QuantisedRows layer_norm_quantise(const at::Tensor& x, const RowNorm& norm, double eps,
                                  int64_t rotation);
QuantisedRows quantise_rows(const at::Tensor& x, int64_t rotation);
QuantisedRows gate_residual_norm_quantise_(at::Tensor& x, const at::Tensor& branch,
                                           const at::Tensor& gate, const RowNorm& norm, double eps,
                                           int64_t rotation);
at::Tensor pack_int8(const at::Tensor& values);
at::Tensor int8_linear(const Int8Product& product);
void int8_linear_residual_(at::Tensor& x, const Int8Product& product, const at::Tensor& gate);
at::Tensor expand_int8(const Int8Weight& weight, int64_t rotation, at::ScalarType out);

}  // namespace t2v::ops::cpu
