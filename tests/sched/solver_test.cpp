// The vectors were computed with the published schedulers for the stub v = x*(0.3+0.0005t) - 0.2.
#include "sched/solver.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "sched/guidance.h"
#include "sched/solver_coefficients.h"

using namespace t2v;

namespace {

at::Tensor stub(const at::Tensor& x, double t) { return x * (0.3 + 0.0005 * t) - 0.2; }

std::vector<at::Tensor> run(Solver solver, int64_t steps, double shift) {
  const auto schedule = sched::make_noise_schedule(solver, SigmaTable::kWan, steps, shift);
  sched::SolverState state(solver, schedule);
  at::Tensor x = at::tensor({1.0F, -0.5F, 0.25F, 2.0F});
  std::vector<at::Tensor> states;
  for (int64_t i = 0; i < steps; ++i) {
    x = state.step(x, stub(x, schedule.timesteps[static_cast<size_t>(i)]), {}, 1, i);
    states.push_back(x.clone());
  }
  return states;
}

void check(const at::Tensor& got, const std::vector<float>& want) {
  for (size_t i = 0; i < want.size(); ++i)
    CHECK(got[static_cast<int64_t>(i)].item<float>() == Approx(want[i]).margin(2e-6).epsilon(0));
}

}  // namespace

TEST_CASE("UniPC, 4 steps, shift 5") {
  const auto s = run(Solver::kUniPC, 4, 5);
  check(s[0], {0.962511F, -0.462495F, 0.250008F, 1.912514F});
  check(s[1], {0.908416F, -0.406204F, 0.251106F, 1.784829F});
  check(s[2], {0.827159F, -0.313086F, 0.257036F, 1.587323F});
  check(s[3], {0.635866F, -0.068453F, 0.283706F, 1.105413F});
}

TEST_CASE("DPM++, 4 steps, shift 5") {
  const auto s = run(Solver::kDpmpp, 4, 5);
  check(s[0], {0.962500F, -0.462500F, 0.250000F, 1.912500F});
  check(s[1], {0.906283F, -0.404643F, 0.250820F, 1.780234F});
  check(s[2], {0.822078F, -0.309398F, 0.256340F, 1.576395F});
  check(s[3], {0.632376F, -0.065957F, 0.283210F, 1.097931F});
}

TEST_CASE("longer runs of both solvers") {
  check(run(Solver::kUniPC, 8, 12)[5], {0.897265F, -0.392658F, 0.252304F, 1.757214F});
  check(run(Solver::kUniPC, 8, 12).back(), {0.635907F, -0.068553F, 0.283677F, 1.105547F});
  check(run(Solver::kDpmpp, 8, 12).back(), {0.635123F, -0.067989F, 0.283567F, 1.103864F});
  check(run(Solver::kUniPC, 5, 3).back(), {0.696355F, -0.107222F, 0.294567F, 1.232073F});
  check(run(Solver::kDpmpp, 5, 3).back(), {0.690680F, -0.103144F, 0.293768F, 1.219895F});
}

TEST_CASE("a model that knows x0 reaches it with every solver") {
  const at::Tensor target = at::tensor({0.3F, -1.2F, 0.0F, 4.0F});
  for (const auto solver : {Solver::kUniPC, Solver::kDpmpp, Solver::kEuler}) {
    for (const int64_t steps : {1, 2, 3, 9}) {
      const auto schedule = sched::make_noise_schedule(solver, SigmaTable::kWan, steps, 5);
      sched::SolverState state(solver, schedule);
      at::Tensor x = at::tensor({1.0F, -0.5F, 0.25F, 2.0F});
      for (int64_t i = 0; i < steps; ++i)
        x = state.step(x, (x - target) / schedule.sigmas[static_cast<size_t>(i)], {}, 1, i);
      CHECK((x - target).abs().max().item<float>() < 2e-6F);
    }
  }
}

// With every x0 estimate equal to c, latents alpha*c + sigma*noise stay on their line: a corrected
// x at sigma[i], the next one at sigma[i+1].
TEST_CASE("the coefficients of every step keep latents on the line from noise to x0") {
  using Coefficients = ops::SolverCoefficients (*)(const sched::SigmaScalars&, int64_t);
  const std::pair<Solver, Coefficients> solvers[] = {{Solver::kUniPC, sched::unipc_coefficients},
                                                     {Solver::kDpmpp, sched::dpmpp_coefficients},
                                                     {Solver::kEuler, sched::euler_coefficients}};
  for (const auto& [solver, coefficients] : solvers) {
    for (const int64_t steps : {1, 2, 3, 40}) {
      const sched::SigmaScalars s(sched::make_noise_schedule(solver, SigmaTable::kWan, steps, 5));
      for (int64_t i = 0; i < steps; ++i) {
        CAPTURE(static_cast<int>(solver), steps, i);
        const ops::SolverCoefficients c = coefficients(s, i);
        CHECK(c.sigma == s.sigma(i));
        CHECK(c.guidance == 1);
        CHECK(c.predict_x * s.sigma(i) == Approx(s.sigma(i + 1)).margin(1e-12));
        CHECK(c.predict_x * s.alpha(i) + c.predict_x0 + c.predict_x0_1 ==
              Approx(s.alpha(i + 1)).margin(1e-12));
        CHECK(c.keeps_x() == (solver != Solver::kUniPC || i == 0));
        if (c.keeps_x()) continue;
        CHECK(c.correct_x == 0);
        CHECK(c.correct_last * s.sigma(i - 1) == Approx(s.sigma(i)).margin(1e-12));
        CHECK(c.correct_last * s.alpha(i - 1) + c.correct_x0 + c.correct_x0_1 + c.correct_x0_2 ==
              Approx(s.alpha(i)).margin(1e-12));
        CHECK((c.correct_x0_2 != 0) == (i > 1));
      }
      const ops::SolverCoefficients last = coefficients(s, steps - 1);
      CHECK(last.predict_x == 0);
      CHECK(last.predict_x0 == 1);
      CHECK(last.predict_x0_1 == 0);
    }
  }
}

TEST_CASE("Euler with many steps approaches UniPC") {
  const at::Tensor euler = run(Solver::kEuler, 1000, 1).back();
  const at::Tensor unipc = run(Solver::kUniPC, 100, 1).back();
  CHECK((euler - unipc).abs().max().item<float>() < 5e-3F);
}

TEST_CASE("guidance is part of the step; guidance 1 equals cond") {
  at::manual_seed(1);
  const at::Tensor cond = at::randn({3, 4});
  const at::Tensor uncond = at::randn({3, 4});
  const at::Tensor start = at::randn({3, 4});
  for (const auto solver : {Solver::kUniPC, Solver::kDpmpp, Solver::kEuler}) {
    const auto schedule = sched::make_noise_schedule(solver, SigmaTable::kWan, 3, 5);
    const auto end = [&](const at::Tensor& c, const at::Tensor& u, double scale) {
      sched::SolverState state(solver, schedule);
      at::Tensor x = start;
      for (int64_t i = 0; i < 3; ++i) x = state.step(x, c * (i + 1), u * (i + 1), scale, i);
      return x;
    };
    CHECK(at::allclose(end(cond, uncond, 1.0), end(cond, cond, 1.0), 1e-6, 1e-6));
    CHECK(at::allclose(end(cond, uncond, 3.0), end(uncond + 3 * (cond - uncond), cond, 1.0), 1e-5,
                       1e-5));
    CHECK_FALSE(at::allclose(end(cond, uncond, 3.0), end(cond, uncond, 1.0), 1e-2, 1e-2));
    const auto strided = [](const at::Tensor& x) { return x.t().contiguous().t(); };
    CHECK(at::equal(end(strided(cond), strided(uncond), 3.0), end(cond, uncond, 3.0)));
  }
  CHECK_FALSE(sched::needs_uncond(1.0));
  CHECK(sched::needs_uncond(1.5));
}
