#include "ops/int8.h"

#include "core/check.h"
#include "ops/norm.h"
#include "ops/op_timer.h"

namespace t2v::ops {
namespace {

constexpr int64_t kWidestGroup = 256;

bool is_group(int64_t rotation, int64_t width) {
  return rotation == 0 || (rotation == rotation_group(rotation, width) && rotation > 0);
}

bool is_rows(const at::Tensor& x) {
  return x.dim() == 2 && (x.stride(1) == 1 || x.size(1) == 1) &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16 ||
          x.scalar_type() == at::kHalf);
}

bool is_vector(const at::Tensor& v, int64_t size) {
  return v.dim() == 1 && v.size(0) == size && v.scalar_type() == at::kFloat && v.is_contiguous();
}

const OpTable& table_of(const at::Tensor& x) { return op_table(x.device().type()); }

void check_product(const Int8Product& product) {
  const Int8Weight& w = product.weight;
  T2V_ASSERT(product.x.values.dim() == 2 && product.x.values.is_contiguous() &&
             product.x.values.size(1) == w.in_features);
  T2V_ASSERT(is_vector(product.x.row_scale, product.x.values.size(0)) &&
             is_vector(w.row_scale, w.out_features));
  T2V_ASSERT(!product.bias.defined() || is_vector(product.bias, w.out_features));
}

}  // namespace

int64_t rotation_group(int64_t wanted, int64_t width) noexcept {
  for (int64_t group = kWidestGroup; group >= 4; group /= 4)
    if (group <= wanted && width % group == 0) return group;
  return 0;
}

QuantisedRows quantise_rows(const at::Tensor& x, int64_t rotation) {
  T2V_ASSERT(is_rows(x) && is_group(rotation, x.size(1)));
  const TimedOp timed("quantise_rows", x);
  const OpTable& table = table_of(x);
  return (table.quantise_rows ? table : reference_ops()).quantise_rows(x, rotation);
}

QuantisedRows quantise_rows_fp8(const at::Tensor& x, int64_t rotation) {
  T2V_ASSERT(is_rows(x) && is_group(rotation, x.size(1)));
  const OpTable& table = table_of(x);
  T2V_REQUIRE(table.quantise_rows_fp8 != nullptr, ErrorKind::kDevice,
              "fp8 products need a GPU that has them (compute capability 8.9 or newer), the '",
              table.name, "' operations have none; try --quant int8");
  const TimedOp timed("quantise_rows", x);
  return table.quantise_rows_fp8(x, rotation);
}

Rows make_rows(const at::Tensor& x, const RowFormat& format) {
  if (format.type == RowType::kPlain) return {x.to(format.dtype), {}};
  const QuantisedRows rows = format.type == RowType::kInt8 ? quantise_rows(x, format.rotation)
                                                           : quantise_rows_fp8(x, format.rotation);
  return {rows.values, rows.row_scale};
}

Rows norm_rows(const at::Tensor& x, const RowNorm& norm, double eps, const RowFormat& format) {
  if (format.type == RowType::kInt8 && table_of(x).layer_norm_quantise) {
    const QuantisedRows rows = layer_norm_quantise(x, norm, eps, format.rotation);
    return {rows.values, rows.row_scale};
  }
  const at::Tensor normed = norm.kind == NormKind::kModulate
                                ? layer_norm_modulate(x, norm.a, norm.b, eps, format.dtype)
                                : layer_norm(x, norm.a, norm.b, eps, format.dtype);
  return make_rows(normed, format);
}

Rows gate_residual_norm_rows_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate,
                              const RowNorm& norm, double eps, const RowFormat& format) {
  if (format.type != RowType::kInt8)
    return make_rows(gate_residual_norm_(x, branch, gate, norm, eps, format.dtype), format);
  const OpTable& table = table_of(x);
  if (!table.gate_residual_norm_quantise_) {
    gate_residual_(x, branch, gate);
    return norm_rows(x, norm, eps, format);
  }
  T2V_ASSERT(is_rows(x) && x.scalar_type() == at::kFloat && is_rows(branch) &&
             branch.sizes() == x.sizes() && is_group(format.rotation, x.size(1)));
  T2V_ASSERT(is_vector(norm.a, x.size(1)) && is_vector(norm.b, x.size(1)) &&
             (!gate.defined() || is_vector(gate, x.size(1))));
  const TimedOp timed("gate_residual_norm_quantise", x);
  const QuantisedRows rows =
      table.gate_residual_norm_quantise_(x, branch, gate, norm, eps, format.rotation);
  return {rows.values, rows.row_scale};
}

Int8Weight pack_int8(const QuantisedRows& weight) {
  T2V_ASSERT(weight.values.dim() == 2 && weight.values.scalar_type() == at::kChar &&
             is_vector(weight.row_scale, weight.values.size(0)));
  const OpTable& table = op_table(weight.values.device().type());
  const at::Tensor values = weight.values.contiguous();
  return {.values = table.pack_int8 ? table.pack_int8(values) : values,
          .row_scale = weight.row_scale,
          .out_features = weight.values.size(0),
          .in_features = weight.values.size(1)};
}

at::Tensor int8_linear(const Int8Product& product) {
  check_product(product);
  const OpTable& table = op_table(product.x.values.device().type());
  return (table.int8_linear ? table : reference_ops()).int8_linear(product);
}

void int8_linear_residual_(at::Tensor& x, const Int8Product& product, const at::Tensor& gate) {
  check_product(product);
  T2V_ASSERT(is_rows(x) && x.scalar_type() == at::kFloat && x.size(0) == product.x.values.size(0) &&
             x.size(1) == product.weight.out_features);
  T2V_ASSERT(!gate.defined() || is_vector(gate, x.size(1)));
  const OpTable& table = op_table(x.device().type());
  (table.int8_linear_residual_ ? table : reference_ops()).int8_linear_residual_(x, product, gate);
}

at::Tensor fp8_linear(const Int8Product& product) {
  check_product(product);
  const OpTable& table = op_table(product.x.values.device().type());
  T2V_REQUIRE(table.fp8_linear != nullptr, ErrorKind::kDevice, "the '", table.name,
              "' operations have no fp8 product; try --quant int8");
  return table.fp8_linear(product);
}

at::Tensor expand_int8(const Int8Weight& weight, int64_t rotation, at::ScalarType out) {
  T2V_ASSERT(weight.values.dim() == 2 && weight.values.size(0) == weight.out_features &&
             weight.values.size(1) == weight.in_features && is_group(rotation, weight.in_features));
  const TimedOp timed("expand_int8", weight.values);
  const OpTable& table = table_of(weight.values);
  return (table.expand_int8 ? table : reference_ops()).expand_int8(weight, rotation, out);
}

}  // namespace t2v::ops
