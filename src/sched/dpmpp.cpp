#include "sched/solver_coefficients.h"

namespace t2v::sched {

ops::SolverCoefficients dpmpp_coefficients(const SigmaScalars& scalars, int64_t step_index) {
  const int64_t i = step_index;
  ops::SolverCoefficients c;
  c.sigma = scalars.sigma(i);
  if (scalars.sigma(i + 1) == 0.0) {
    c.predict_x0 = 1;
    return c;
  }
  const double h = scalars.lambda(i + 1) - scalars.lambda(i);  // +inf from sigma 1
  const double weight = scalars.alpha(i + 1) * std::expm1(-h);
  c.predict_x = scalars.sigma(i + 1) / scalars.sigma(i);
  c.predict_x0 = -weight;
  if (i > 0 && std::isfinite(scalars.lambda(i - 1))) {
    const double r = (scalars.lambda(i) - scalars.lambda(i - 1)) / h;
    c.predict_x0_1 = 0.5 * weight / r;
    c.predict_x0 -= c.predict_x0_1;
  }
  return c;
}

}  // namespace t2v::sched
