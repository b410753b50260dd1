// Composed twins of the 8-bit ops (ops/int8.h): plain ATen, any device.
#pragma once

#include "ops/backend.h"

namespace t2v::ops::reference {

// x [L, C] in fp32, multiplied by R within each group of columns.
at::Tensor rotate_groups(const at::Tensor& x, int64_t rotation);

QuantisedRows quantise_rows(const at::Tensor& x, int64_t rotation);
QuantisedRows quantise_rows_fp8(const at::Tensor& x, int64_t rotation);
at::Tensor pack_int8(const at::Tensor& values);
// The sum of int8 products before scales and bias: exact, in fp64 or int32.
at::Tensor int8_sums(const at::Tensor& x, const at::Tensor& weight);
at::Tensor int8_linear(const Int8Product& product);
void int8_linear_residual_(at::Tensor& x, const Int8Product& product, const at::Tensor& gate);
at::Tensor expand_int8(const Int8Weight& weight, int64_t rotation, at::ScalarType out);
at::Tensor fp8_linear(const Int8Product& product);

}  // namespace t2v::ops::reference
