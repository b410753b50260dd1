#include "sched/dpmpp.h"

#include <ATen/ops/add.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>

namespace t2v::sched {

at::Tensor DpmSolverPp::step(const at::Tensor& latents, const at::Tensor& model_output,
                             int64_t step_index) {
  const int64_t i = step_index;
  const at::Tensor x0 = at::sub(latents, model_output, scalars_.sigma(i));
  const at::Tensor before = previous_x0_;
  previous_x0_ = x0;
  if (scalars_.sigma(i + 1) == 0.0) return x0;
  const double h = scalars_.lambda(i + 1) - scalars_.lambda(i);  // +inf from sigma 1
  const double e = std::expm1(-h);
  const double weight = scalars_.alpha(i + 1) * e;
  at::Tensor next = at::mul(latents, scalars_.sigma(i + 1) / scalars_.sigma(i));
  next.add_(x0, -weight);
  if (i > 0 && std::isfinite(scalars_.lambda(i - 1))) {
    const double r = (scalars_.lambda(i) - scalars_.lambda(i - 1)) / h;
    next.add_(at::sub(x0, before), -0.5 * weight / r);
  }
  return next;
}

}  // namespace t2v::sched
