#include "sched/solver.h"

#include "sched/solver_coefficients.h"

namespace t2v::sched {
namespace {

ops::SolverCoefficients coefficients_of(Solver solver, const SigmaScalars& scalars, int64_t i) {
  switch (solver) {
    case Solver::kUniPC:
      return unipc_coefficients(scalars, i);
    case Solver::kDpmpp:
      return dpmpp_coefficients(scalars, i);
    case Solver::kEuler:
      break;
  }
  return euler_coefficients(scalars, i);
}

}  // namespace

at::Tensor SolverState::step(const at::Tensor& latents, const at::Tensor& cond,
                             const at::Tensor& uncond, double guidance_scale, int64_t step_index) {
  ops::SolverCoefficients c = coefficients_of(solver_, scalars_, step_index);
  c.guidance = guidance_scale;
  // Only what takes part is handed over.
  ops::SolverInputs in{.x = latents.contiguous(), .cond = cond.contiguous()};
  if (uncond.defined()) in.uncond = uncond.contiguous();
  if (c.correct_last != 0) in.last = last_;
  if (c.correct_x0_1 != 0 || c.predict_x0_1 != 0) in.x0_1 = x0_1_;
  if (c.correct_x0_2 != 0) in.x0_2 = x0_2_;
  ops::SolverOutputs out = ops::solver_step(in, c);
  if (solver_ == Solver::kUniPC) {
    last_ = out.corrected;
    x0_2_ = x0_1_;
  }
  if (solver_ != Solver::kEuler) x0_1_ = out.x0;
  return out.next;
}

}  // namespace t2v::sched
