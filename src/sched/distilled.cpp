#include "sched/distilled.h"

#include <cmath>

#include "core/check.h"
#include "sched/noise_schedule.h"

namespace t2v::sched {

std::vector<double> warped_timesteps(int64_t steps, double shift) {
  std::vector<double> timesteps;
  for (int64_t i = 0; i < steps; ++i) {
    const double u = static_cast<double>(steps - i) / static_cast<double>(steps);
    timesteps.push_back(1000 * shift_sigma(u, shift));
  }
  return timesteps;
}

std::vector<double> rcm_timesteps(int64_t steps, double sigma_max) {
  T2V_ASSERT(steps >= 1 && steps <= kMaxRcmSteps);
  const double angles[kMaxRcmSteps] = {std::atan(sigma_max), 1.5, 1.4, 1.0};
  std::vector<double> timesteps;
  for (int64_t i = 0; i < steps; ++i) {
    const double angle = angles[i];
    timesteps.push_back(1000 * std::sin(angle) / (std::sin(angle) + std::cos(angle)));
  }
  return timesteps;
}

}  // namespace t2v::sched
