#include "sched/unipc.h"

#include <ATen/ops/add.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>

#include <algorithm>

namespace t2v::sched {

at::Tensor UniPC::step(const at::Tensor& latents, const at::Tensor& model_output,
                       int64_t step_index) {
  const int64_t i = step_index;
  const at::Tensor x0 = at::sub(latents, model_output, scalars_.sigma(i));  // of the uncorrected x
  const at::Tensor x = i > 0 ? correct(x0, i) : latents;
  // Order 1 at the start (no history) and for the last step (stability), 2 in between.
  const int order = static_cast<int>(std::min<int64_t>({2, scalars_.num_steps() - i, i + 1}));
  at::Tensor next = predict(x, x0, i, order);
  last_ = x;
  x0_2_ = x0_1_;
  x0_1_ = x0;
  last_order_ = order;
  return next;
}

at::Tensor UniPC::predict(const at::Tensor& x, const at::Tensor& x0, int64_t i, int order) const {
  if (scalars_.sigma(i + 1) == 0.0) return x0;
  const double h = scalars_.lambda(i + 1) - scalars_.lambda(i);
  const double weight = scalars_.alpha(i + 1) * std::expm1(-h);
  at::Tensor next = at::mul(x, scalars_.sigma(i + 1) / scalars_.sigma(i));
  next.add_(x0, -weight);
  if (order == 2) {
    const double r = (scalars_.lambda(i - 1) - scalars_.lambda(i)) / h;
    next.add_(at::sub(x0_1_, x0), -0.5 * weight / r);
  }
  return next;
}

at::Tensor UniPC::correct(const at::Tensor& x0, int64_t i) const {
  const double h = scalars_.lambda(i) - scalars_.lambda(i - 1);
  const double hh = -h;
  const double e = std::expm1(hh);
  const double weight = scalars_.alpha(i) * e;
  at::Tensor x = at::mul(last_, scalars_.sigma(i) / scalars_.sigma(i - 1));
  x.add_(x0_1_, -weight);
  const at::Tensor newest = at::sub(x0, x0_1_);
  if (last_order_ == 1) return x.add_(newest, -0.5 * weight);
  const double r = (scalars_.lambda(i - 2) - scalars_.lambda(i - 1)) / h;
  const double k1 = e / hh - 1.0;
  const double b1 = k1 / e;
  const double k2 = k1 / hh - 0.5;
  const double b2 = 2.0 * k2 / e;
  const double p0 = (b1 - b2) / (1.0 - r);
  const double p1 = b1 - p0;
  x.add_(at::sub(x0_2_, x0_1_), -weight * p0 / r);
  return x.add_(newest, -weight * p1);
}

}  // namespace t2v::sched
