#include "ops/solver_step.h"

#include "core/check.h"
#include "ops/op_timer.h"

namespace t2v::ops {
namespace {

bool fits(const at::Tensor& x, const at::Tensor& other) {
  return other.scalar_type() == at::kFloat && other.sizes() == x.sizes() &&
         other.device() == x.device() && other.is_contiguous();
}

}  // namespace

SolverOutputs solver_step(const SolverInputs& in, const SolverCoefficients& coefficients) {
  const SolverCoefficients& c = coefficients;
  T2V_ASSERT(in.x.defined() && in.cond.defined());
  for (const at::Tensor* tensor : {&in.x, &in.cond, &in.uncond, &in.last, &in.x0_1, &in.x0_2})
    T2V_ASSERT(!tensor->defined() || fits(in.x, *tensor));
  T2V_ASSERT(in.last.defined() || c.correct_last == 0);
  T2V_ASSERT(in.x0_1.defined() || (c.correct_x0_1 == 0 && c.predict_x0_1 == 0));
  T2V_ASSERT(in.x0_2.defined() || c.correct_x0_2 == 0);
  const TimedOp timed("solver_step", in.x);
  return op_table(in.x.device().type()).solver_step(in, coefficients);
}

}  // namespace t2v::ops
