#include "sched/noise_schedule.h"

#include <cmath>

#include "core/check.h"

namespace t2v::sched {
namespace {

constexpr double kTrainTimesteps = 1000.0;
// fp32(1 - 1/1000), as the original program's training table stores it.
constexpr double kWanSigmaMax = 0.9990000128746033;
// The diffusers library keeps the first sigma away from 1, where log(alpha) is infinite.
constexpr double kDiffusersFirstGap = 1e-6;

std::vector<double> unshifted(Solver solver, SigmaTable table, int64_t steps) {
  std::vector<double> u(static_cast<size_t>(steps));
  const auto n = static_cast<double>(steps);
  for (size_t i = 0; i < u.size(); ++i) {
    const double done = static_cast<double>(i) / n;
    if (table == SigmaTable::kDiffusers) {
      u[i] = 1.0 - done * (1.0 - 1.0 / kTrainTimesteps);
    } else {
      u[i] = (solver == Solver::kUniPC ? kWanSigmaMax : 1.0) * (1.0 - done);
    }
  }
  return u;
}

}  // namespace

double shift_sigma(double u, double shift) noexcept {
  return shift * u / (1.0 + (shift - 1.0) * u);
}

NoiseSchedule make_noise_schedule(Solver solver, SigmaTable table, int64_t steps, double shift) {
  T2V_REQUIRE(steps >= 1 && steps <= 1000, ErrorKind::kUsage, "bad number of steps: ", steps,
              ", expected 1 to 1000 (--steps)");
  T2V_REQUIRE(std::isfinite(shift) && shift > 0, ErrorKind::kUsage, "bad shift: ", shift,
              ", expected a number above 0 (--shift)");
  NoiseSchedule schedule;
  for (const double u : unshifted(solver, table, steps)) {
    double sigma = shift_sigma(u, shift);
    if (table == SigmaTable::kDiffusers && std::abs(sigma - 1.0) < kDiffusersFirstGap) {
      sigma -= kDiffusersFirstGap;
    }
    schedule.sigmas.push_back(static_cast<float>(sigma));
    schedule.timesteps.push_back(std::trunc(sigma * kTrainTimesteps));
  }
  schedule.sigmas.push_back(0.0F);
  for (size_t i = 1; i < schedule.sigmas.size(); ++i) {
    T2V_REQUIRE(schedule.sigmas[i] < schedule.sigmas[i - 1], ErrorKind::kUsage, "shift ", shift,
                " with ", steps,
                " steps leaves no distance between noise levels; try a shift between 0.1 and 100 "
                "(--shift)");
  }
  return schedule;
}

NoiseSchedule make_listed_schedule(const std::vector<double>& timesteps) {
  T2V_REQUIRE(!timesteps.empty() && timesteps.size() <= 1000, ErrorKind::kUsage,
              "bad list of timesteps: ", timesteps.size(),
              " of them, expected 1 to 1000 (--t-list)");
  NoiseSchedule schedule;
  for (const double t : timesteps) {
    T2V_REQUIRE(t > 0 && t <= kTrainTimesteps, ErrorKind::kUsage, "bad timestep: ", t,
                ", expected above 0 and up to 1000; only the last may be 0 (--t-list)");
    const auto sigma = static_cast<float>(t / kTrainTimesteps);
    T2V_REQUIRE(schedule.sigmas.empty() || sigma < schedule.sigmas.back(), ErrorKind::kUsage,
                "bad list of timesteps: ", t, " is not below the one before it (--t-list)");
    schedule.sigmas.push_back(sigma);
    schedule.timesteps.push_back(t);
  }
  schedule.sigmas.push_back(0.0F);
  return schedule;
}

bool uses_high_noise(double timestep, double boundary) noexcept {
  return timestep >= boundary * kTrainTimesteps;
}

}  // namespace t2v::sched
