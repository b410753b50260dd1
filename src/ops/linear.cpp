#include "ops/linear.h"

#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_addmm_activation.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>

#include <optional>

#include "core/check.h"
#include "ops/backend.h"

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
  packed_ = packs(weight_);
  if (packed_) weight_ = pack(weight_.contiguous());
}

bool Linear::packs(const at::Tensor& weight) {
  const auto type = weight.scalar_type();
  return weight.is_cpu() && weight.numel() >= kMinPackedElements &&
         (type == at::kFloat || type == at::kBFloat16);
}

void Linear::add_branch(at::Tensor down, at::Tensor up) {
  T2V_ASSERT(down.dim() == 2 && up.dim() == 2 && down.size(1) == in_features_ &&
             up.size(0) == out_features_ && down.size(0) == up.size(1) &&
             down.scalar_type() == dtype() && up.scalar_type() == dtype());
  branch_down_ = std::move(down);
  branch_up_ = std::move(up);
}

at::Tensor Linear::product(const at::Tensor& x, Activation activation) const {
  if (packed_) return packed_linear(x, weight_, bias_, activation);
  // cuBLASLt adds the bias and applies GELU-tanh to its fp32 sums.
  if (activation == Activation::kGeluTanh && bias_.defined() && !x.is_cpu() &&
      &op_table(x.device().type()) != &reference_ops())
    return at::_addmm_activation(bias_, x, weight_.t(), 1, 1, /*use_gelu=*/true);
  at::Tensor y = at::linear(x, weight_, bias_.defined() ? std::make_optional(bias_) : std::nullopt);
  return activation == Activation::kGeluTanh ? at::gelu_(y, "tanh") : y;
}

at::Tensor Linear::operator()(const at::Tensor& x, Activation activation) const {
  T2V_ASSERT(x.dim() == 2 && x.size(1) == in_features_ && x.scalar_type() == weight_.scalar_type());
  if (!branch_down_.defined()) return product(x, activation);
  at::Tensor y = product(x, Activation::kNone);
  y.add_(at::linear(at::linear(x, branch_down_), branch_up_));
  return activation == Activation::kGeluTanh ? at::gelu_(y, "tanh") : y;
}

}  // namespace t2v::ops
