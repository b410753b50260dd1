#include "sched/distilled.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "sched/noise_schedule.h"
#include "sched/solver.h"
#include "t2v/error.h"

using namespace t2v;

namespace {

void check(const std::vector<double>& got, const std::vector<double>& want, double margin) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < want.size(); ++i)
    CHECK(got[i] == Approx(want[i]).margin(margin).epsilon(0));
}

int64_t count_high(const std::vector<double>& timesteps, double boundary) {
  int64_t high = 0;
  for (const double t : timesteps) high += sched::uses_high_noise(t, boundary) ? 1 : 0;
  return high;
}

}  // namespace

TEST_CASE("lists of the distilled models") {
  const auto four = sched::warped_timesteps(4, 5);
  check(four, {1000, 937.5, 833.333, 625}, 1e-3);
  const auto eight = sched::warped_timesteps(8, 5);
  check(eight, {1000, 972.222, 937.5, 892.857, 833.333, 750, 625, 416.667}, 1e-3);
  CHECK(count_high(four, 0.875) == 2);
  CHECK(count_high(four, 0.9) == 2);
  CHECK(count_high(eight, 0.875) == 4);
  check(sched::rcm_timesteps(4, 80), {987.654, 933.781, 852.895, 608.979}, 1e-3);
  CHECK(sched::rcm_timesteps(4, 80)[0] / 1000 == Approx(0.987654).margin(1e-6).epsilon(0));
  CHECK(sched::rcm_timesteps(4, 80)[3] / 1000 == Approx(0.608979).margin(1e-6).epsilon(0));
  CHECK(sched::rcm_timesteps(1, 200)[0] / 1000 == Approx(0.995025).margin(1e-6).epsilon(0));
  check(sched::rcm_timesteps(2, 80), {987.654, 933.781}, 1e-3);
}

TEST_CASE("listed timesteps stay floats; noise levels follow them") {
  const auto schedule = sched::make_listed_schedule({1000, 937.5, 625});
  CHECK(schedule.timesteps == std::vector<double>{1000, 937.5, 625});
  CHECK(schedule.sigmas == std::vector<float>{1.0F, 0.9375F, 0.625F, 0.0F});
  for (const std::vector<double>& bad :
       {std::vector<double>{}, {1000, 1000}, {500, 600}, {1001}, {500, 0}, {std::nan("")}})
    CHECK_THROWS_AS(sched::make_listed_schedule(bad), Error);
}

TEST_CASE("Euler and re-noise end exactly where a model that knows x0 points") {
  const at::Tensor target = at::tensor({0.3F, -1.2F, 0.0F, 4.0F});
  for (const Solver solver : {Solver::kEuler, Solver::kRenoise, Solver::kUniPC, Solver::kDpmpp}) {
    for (const auto& list : {sched::warped_timesteps(4, 5), {1000, 757, 522}, {987.654}}) {
      const auto schedule = sched::make_listed_schedule(list);
      sched::SolverState state(solver, schedule, 7);
      at::Tensor x = at::tensor({1.0F, -0.5F, 0.25F, 2.0F});
      for (int64_t i = 0; i < schedule.num_steps(); ++i)
        x = state.step(x, (x - target) / schedule.sigmas[static_cast<size_t>(i)], {}, 1, i);
      CHECK((x - target).abs().max().item<float>() < 2e-6F);
    }
  }
}

TEST_CASE("re-noise draws from the stream behind the initial noise, also in another process") {
  const auto schedule = sched::make_listed_schedule({1000, 800, 600, 400});
  auto generator = at::detail::createCPUGenerator(11);
  const at::Tensor start = at::randn({40}, generator);
  const at::Tensor fresh = at::randn({40}, generator);
  const auto model = [](const at::Tensor& x) { return at::tanh(x); };
  sched::SolverState whole(Solver::kRenoise, schedule, 11);
  at::Tensor x = whole.step(start, model(start), {}, 1, 0);
  const at::Tensor x0 = start - model(start);
  CHECK(at::allclose(x, x0 * 0.2 + fresh * 0.8, 1e-6, 1e-6));
  sched::SolverState again(Solver::kRenoise, schedule, 11);
  again.restore(whole.history(), at::kCPU);
  at::Tensor y = x;
  for (int64_t i = 1; i < 4; ++i) {
    x = whole.step(x, model(x), {}, 1, i);
    y = again.step(y, model(y), {}, 1, i);
    CHECK(at::equal(x, y));
  }
  sched::SolverState other(Solver::kRenoise, schedule, 12);
  CHECK_FALSE(at::allclose(other.step(start, model(start), {}, 1, 0), x0 * 0.2 + fresh * 0.8));
}
