#include <algorithm>

#include "sched/solver_coefficients.h"

namespace t2v::sched {
namespace {

// Order 1 at the start (no history) and for the last step (stability), 2 in between.
int64_t order_of(const SigmaScalars& s, int64_t i) {
  return std::min<int64_t>({2, s.num_steps() - i, i + 1});
}

void set_predictor(const SigmaScalars& s, int64_t i, ops::SolverCoefficients& c) {
  if (s.sigma(i + 1) == 0.0) {
    c.predict_x0 = 1;
    return;
  }
  const double h = s.lambda(i + 1) - s.lambda(i);
  const double weight = s.alpha(i + 1) * std::expm1(-h);
  c.predict_x = s.sigma(i + 1) / s.sigma(i);
  c.predict_x0 = -weight;
  if (order_of(s, i) == 1) return;
  // 0.5 * (x0_1 - x0) / r more
  const double r = (s.lambda(i - 1) - s.lambda(i)) / h;
  c.predict_x0_1 = -0.5 * weight / r;
  c.predict_x0 -= c.predict_x0_1;
}

// Redoes the previous step's arrival at sigma[i] now that x0 at sigma[i] is known.
void set_corrector(const SigmaScalars& s, int64_t i, ops::SolverCoefficients& c) {
  const double h = s.lambda(i) - s.lambda(i - 1);
  const double hh = -h;
  const double e = std::expm1(hh);
  const double weight = s.alpha(i) * e;
  c.correct_x = 0;
  c.correct_last = s.sigma(i) / s.sigma(i - 1);
  if (order_of(s, i - 1) == 1) {
    c.correct_x0 = -0.5 * weight;  // of x0 - x0_1
    c.correct_x0_1 = -weight - c.correct_x0;
    return;
  }
  const double r = (s.lambda(i - 2) - s.lambda(i - 1)) / h;
  const double k1 = e / hh - 1.0;
  const double b1 = k1 / e;
  const double k2 = k1 / hh - 0.5;
  const double b2 = 2.0 * k2 / e;
  const double p0 = (b1 - b2) / (1.0 - r);
  const double p1 = b1 - p0;
  c.correct_x0_2 = -weight * p0 / r;  // of x0_2 - x0_1
  c.correct_x0 = -weight * p1;        // of x0 - x0_1
  c.correct_x0_1 = -weight - c.correct_x0_2 - c.correct_x0;
}

}  // namespace

ops::SolverCoefficients unipc_coefficients(const SigmaScalars& scalars, int64_t step_index) {
  ops::SolverCoefficients c;
  c.sigma = scalars.sigma(step_index);
  if (step_index > 0) set_corrector(scalars, step_index, c);
  set_predictor(scalars, step_index, c);
  return c;
}

}  // namespace t2v::sched
