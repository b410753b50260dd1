#include "sched/solver.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randn.h>

#include "sched/solver_coefficients.h"

namespace t2v::sched {
namespace {

ops::SolverCoefficients coefficients_of(Solver solver, const SigmaScalars& scalars, int64_t i) {
  switch (solver) {
    case Solver::kUniPC:
      return unipc_coefficients(scalars, i);
    case Solver::kDpmpp:
      return dpmpp_coefficients(scalars, i);
    case Solver::kRenoise:
      return renoise_coefficients(scalars, i);
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
  if (c.correct_last != 0) in.last = history_.last;
  if (c.correct_x0_1 != 0 || c.predict_x0_1 != 0) in.x0_1 = history_.x0_1;
  if (c.correct_x0_2 != 0) in.x0_2 = history_.x0_2;
  ops::SolverOutputs out = ops::solver_step(in, c);
  if (solver_ == Solver::kUniPC) {
    history_.last = out.corrected;
    history_.x0_2 = history_.x0_1;
  }
  if (solver_ == Solver::kUniPC || solver_ == Solver::kDpmpp) history_.x0_1 = out.x0;
  if (solver_ == Solver::kRenoise && scalars_.sigma(step_index + 1) > 0)
    return out.next + draw(latents) * scalars_.sigma(step_index + 1);
  return out.next;
}

at::Tensor SolverState::draw(const at::Tensor& like) {
  at::Generator generator = at::detail::createCPUGenerator(seed_);
  const auto next = [&] { return at::randn(like.sizes(), generator, at::kFloat); };
  if (history_.generator.defined())
    generator.set_state(history_.generator);
  else
    static_cast<void>(next());  // the initial noise
  at::Tensor noise = next();
  history_.generator = generator.get_state();
  return noise.to(like.device());
}

void SolverState::restore(const SolverHistory& history, at::Device device) {
  const auto placed = [&](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.to(device) : tensor;
  };
  history_ = {.last = placed(history.last),
              .x0_1 = placed(history.x0_1),
              .x0_2 = placed(history.x0_2),
              .generator = history.generator};
}

}  // namespace t2v::sched
