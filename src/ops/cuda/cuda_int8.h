// Entries of the CUDA table for rows and weights of 8 bits (cuda_ops.cpp has the others). Depths
// are multiples of 16 and outputs multiples of 8: models with other widths are refused when they
// load.
#pragma once

#include "ops/backend.h"

namespace t2v::ops::cuda {

QuantisedRows layer_norm_quantise(const at::Tensor& x, const RowNorm& norm, double eps,
                                  int64_t rotation);
QuantisedRows gate_residual_norm_quantise_(at::Tensor& x, const at::Tensor& branch,
                                           const at::Tensor& gate, const RowNorm& norm, double eps,
                                           int64_t rotation);
QuantisedRows quantise_rows(const at::Tensor& x, int64_t rotation);
at::Tensor pack_int8(const at::Tensor& values);
at::Tensor int8_linear(const Int8Product& product);
void int8_linear_residual_(at::Tensor& x, const Int8Product& product, const at::Tensor& gate);
at::Tensor expand_int8(const Int8Weight& weight, int64_t rotation, at::ScalarType out);
// Throw Error{kDevice} below compute capability 8.9.
void require_fp8(const at::Tensor& x);
QuantisedRows quantise_rows_fp8(const at::Tensor& x, int64_t rotation);
at::Tensor fp8_linear(const Int8Product& product);

}  // namespace t2v::ops::cuda
