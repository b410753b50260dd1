#include "ops/add_bias_residual.h"

#include "core/check.h"
#include "ops/op_timer.h"

namespace t2v::ops {

void add_bias_residual(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& residual,
                       const at::Tensor& out) {
  T2V_ASSERT(y.dim() == 4 && y.stride(3) == 1 && at::isFloatingType(y.scalar_type()));
  T2V_ASSERT(out.sizes() == y.sizes() && out.stride(3) == 1 && out.device() == y.device() &&
             at::isFloatingType(out.scalar_type()));
  T2V_ASSERT(bias.dim() == 1 && bias.size(0) == y.size(3) && bias.scalar_type() == at::kFloat);
  if (residual.defined())
    T2V_ASSERT(residual.sizes() == out.sizes() && residual.scalar_type() == out.scalar_type() &&
               residual.stride(3) == 1);
  const TimedOp timed("add_bias_residual", y);
  op_table(y.device().type()).add_bias_residual(y, bias, residual, out);
}

}  // namespace t2v::ops
