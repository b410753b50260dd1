#include "ops/int8_reference.h"

#include <ATen/ATen.h>

#include "core/check.h"

namespace t2v::ops::reference {
namespace {

constexpr double kSmallestMaximum = 1e-5;
constexpr double kLargestInt8 = 127;
constexpr double kLargestE4m3 = 448;

// H4 (x) H4 (x) ..., [group, group]; H4 is regular: each row sums to 1, so a constant stays one.
at::Tensor rotation_matrix(int64_t group, at::Device device) {
  const at::Tensor h4 =
      at::tensor({1, 1, 1, -1, 1, 1, -1, 1, 1, -1, 1, 1, -1, 1, 1, 1}, at::kFloat).view({4, 4}) / 2;
  at::Tensor matrix = h4;
  while (matrix.size(0) < group) matrix = at::kron(matrix, h4);
  return matrix.to(device);
}

// fp32 [L].
at::Tensor scales_of(const at::Tensor& x, double largest) {
  return x.abs().amax(1).clamp_min(kSmallestMaximum) / largest;
}

// Scales, bias and activation of exact sums; fp32.
at::Tensor finish(const at::Tensor& sums, const Int8Product& product) {
  at::Tensor y = sums.to(at::kFloat) *
                 (product.x.row_scale.unsqueeze(1) * product.weight.row_scale.unsqueeze(0));
  if (product.bias.defined()) y = y + product.bias;
  return product.gelu ? at::gelu(y, "tanh") : y;
}

}  // namespace

at::Tensor rotate_groups(const at::Tensor& x, int64_t rotation) {
  const at::Tensor wide = x.to(at::kFloat);
  if (rotation == 0) return wide;
  return at::matmul(wide.unflatten(1, {-1, rotation}), rotation_matrix(rotation, x.device()))
      .flatten(1);
}

QuantisedRows quantise_rows(const at::Tensor& x, int64_t rotation) {
  const at::Tensor y = rotate_groups(x, rotation);
  const at::Tensor scale = scales_of(y, kLargestInt8);
  return {
      .values = (y / scale.unsqueeze(1)).round_().clamp_(-kLargestInt8, kLargestInt8).to(at::kChar),
      .row_scale = scale};
}

QuantisedRows quantise_rows_fp8(const at::Tensor& x, int64_t rotation) {
  const at::Tensor y = rotate_groups(x, rotation);
  const at::Tensor scale = scales_of(y, kLargestE4m3);
  return {
      .values = (y / scale.unsqueeze(1)).clamp_(-kLargestE4m3, kLargestE4m3).to(at::kFloat8_e4m3fn),
      .row_scale = scale};
}

at::Tensor pack_int8(const at::Tensor& values) { return values; }

at::Tensor int8_sums(const at::Tensor& x, const at::Tensor& weight) {
  // LibTorch's integer product, where the device has it for the size.
  if (x.is_cuda() && x.size(0) > 16 && weight.size(0) % 8 == 0 && weight.size(1) % 8 == 0)
    return at::_int_mm(x, weight.t());
  return at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
}

at::Tensor int8_linear(const Int8Product& product) {
  return finish(int8_sums(product.x.values, product.weight.values), product).to(product.out);
}

void int8_linear_residual_(at::Tensor& x, const Int8Product& product, const at::Tensor& gate) {
  const at::Tensor y = finish(int8_sums(product.x.values, product.weight.values), product);
  x.add_(gate.defined() ? y * gate : y);
}

at::Tensor expand_int8(const Int8Weight& weight, int64_t rotation, at::ScalarType out) {
  const at::Tensor wide = weight.values.to(at::kFloat) * weight.row_scale.unsqueeze(1);
  return rotate_groups(wide, rotation).to(out);
}

at::Tensor fp8_linear(const Int8Product& product) {
  const at::Tensor sums =
      at::matmul(product.x.values.to(at::kFloat), product.weight.values.to(at::kFloat).t());
  return finish(sums, product).to(product.out);
}

}  // namespace t2v::ops::reference
