#include "ops/linear.h"

#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_addmm_activation.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>

#include <optional>

#include "core/check.h"
#include "ops/int8.h"
#include "ops/norm.h"
#include "ops/op_timer.h"

namespace t2v::ops {
namespace {

// oneDNN's blocked weight layout pays for matrices; tiny ones are left as they are.
constexpr int64_t kMinPackedElements = 64 * 64;

using ReorderFn = at::Tensor(const at::Tensor&, std::optional<c10::SymInt>);
using LinearFn = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                            c10::string_view, c10::List<std::optional<at::Scalar>>,
                            std::optional<c10::string_view>);

at::Tensor pack(const at::Tensor& weight) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                             .typed<ReorderFn>();
  static const std::optional<c10::SymInt> any_rows;
  return op.call(weight, any_rows);
}

at::Tensor packed_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         Activation activation) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                             .typed<LinearFn>();
  const bool gelu = activation == Activation::kGeluTanh;
  return op.call(x, weight, bias.defined() ? std::make_optional(bias) : std::nullopt,
                 gelu ? "gelu" : "none", c10::List<std::optional<at::Scalar>>(),
                 gelu ? std::make_optional<c10::string_view>("tanh") : std::nullopt);
}

}  // namespace

Linear::Linear(at::Tensor weight, at::Tensor bias)
    : weight_(std::move(weight)), bias_(std::move(bias)) {
  T2V_ASSERT(weight_.dim() == 2);
  out_features_ = weight_.size(0);
  in_features_ = weight_.size(1);
  rows_.dtype = weight_.scalar_type();
  packed_ = packs(weight_);
  if (packed_) weight_ = pack(weight_.contiguous());
}

bool Linear::packs(const at::Tensor& weight) {
  const auto type = weight.scalar_type();
  return weight.is_cpu() && weight.numel() >= kMinPackedElements &&
         (type == at::kFloat || type == at::kBFloat16);
}

Linear::Linear(const QuantisedRows& weight, at::Tensor bias, const RowFormat& rows)
    : rows_(rows),
      bias_(std::move(bias)),
      in_features_(weight.values.size(1)),
      out_features_(weight.values.size(0)) {
  T2V_ASSERT(!bias_.defined() ||
             bias_.scalar_type() == (rows.type == RowType::kPlain ? rows.dtype : at::kFloat));
  if (rows.type == RowType::kInt8) {
    eight_bit_ = pack_int8(weight);
  } else {
    eight_bit_ = {weight.values, weight.row_scale, out_features_, in_features_};
  }
}

void Linear::add_branch(at::Tensor down, at::Tensor up) {
  T2V_ASSERT(down.dim() == 2 && up.dim() == 2 && down.size(1) == in_features_ &&
             up.size(0) == out_features_ && down.size(0) == up.size(1) &&
             down.scalar_type() == dtype() && up.scalar_type() == dtype());
  branch_down_ = std::move(down);
  branch_up_ = std::move(up);
}

RowFormat Linear::row_format() const {
  RowFormat format = rows_;
  if (rows_.type == RowType::kPlain) format.rotation = 0;  // taken back when it is expanded
  return format;
}

at::Tensor Linear::product(const at::Tensor& x, Activation activation) const {
  if (packed_) return packed_linear(x, weight_, bias_, activation);
  const at::Tensor weight =
      weight_.defined() ? weight_ : expand_int8(eight_bit_, rows_.rotation, rows_.dtype);
  // cuBLASLt adds the bias and applies GELU-tanh to its fp32 sums.
  if (activation == Activation::kGeluTanh && bias_.defined() && !x.is_cpu() &&
      &op_table(x.device().type()) != &reference_ops())
    return at::_addmm_activation(bias_, x, weight.t(), 1, 1, /*use_gelu=*/true);
  at::Tensor y = at::linear(x, weight, bias_.defined() ? std::make_optional(bias_) : std::nullopt);
  return activation == Activation::kGeluTanh ? at::gelu_(y, "tanh") : y;
}

at::Tensor Linear::operator()(const at::Tensor& x, Activation activation) const {
  T2V_ASSERT(rows_.type == RowType::kPlain && x.dim() == 2 && x.size(1) == in_features_ &&
             x.scalar_type() == rows_.dtype);
  const TimedOp timed("linear", x, product_flop(x.size(0), in_features_, out_features_));
  if (!branch_down_.defined()) return product(x, activation);
  at::Tensor y = product(x, Activation::kNone);
  y.add_(at::linear(at::linear(x, branch_down_), branch_up_));
  return activation == Activation::kGeluTanh ? at::gelu_(y, "tanh") : y;
}

at::Tensor Linear::operator()(const Rows& x, Activation activation) const {
  if (rows_.type == RowType::kPlain) return (*this)(x.values, activation);
  const bool int8 = rows_.type == RowType::kInt8;
  const TimedOp timed(int8 ? "linear_int8" : "linear_fp8", x.values,
                      product_flop(x.values.size(0), in_features_, out_features_));
  const QuantisedRows rows{x.values, x.row_scale};
  const Int8Product product{.x = rows,
                            .weight = eight_bit_,
                            .bias = bias_,
                            .gelu = activation == Activation::kGeluTanh,
                            .out = rows_.dtype};
  return int8 ? int8_linear(product) : fp8_linear(product);
}

void Linear::add_to(at::Tensor& sum, const Rows& x, const at::Tensor& gate) const {
  if (rows_.type != RowType::kInt8) return gate_residual_(sum, (*this)(x), gate);
  const TimedOp timed("linear_int8", sum, product_flop(sum.size(0), in_features_, out_features_));
  const QuantisedRows rows{x.values, x.row_scale};
  int8_linear_residual_(
      sum, {.x = rows, .weight = eight_bit_, .bias = bias_, .gelu = false, .out = rows_.dtype},
      gate);
}

}  // namespace t2v::ops
