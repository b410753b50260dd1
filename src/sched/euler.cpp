#include "sched/solver_coefficients.h"

namespace t2v::sched {

ops::SolverCoefficients euler_coefficients(const SigmaScalars& scalars, int64_t step_index) {
  ops::SolverCoefficients c;
  c.sigma = scalars.sigma(step_index);
  c.predict_x = scalars.sigma(step_index + 1) / scalars.sigma(step_index);
  c.predict_x0 = 1 - c.predict_x;
  return c;
}

ops::SolverCoefficients renoise_coefficients(const SigmaScalars& scalars, int64_t step_index) {
  ops::SolverCoefficients c;
  c.sigma = scalars.sigma(step_index);
  c.predict_x = 0;
  c.predict_x0 = scalars.alpha(step_index + 1);
  return c;
}

}  // namespace t2v::sched
