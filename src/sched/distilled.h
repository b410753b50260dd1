// Timesteps of step-distilled models: few, and as floats.
#pragma once

#include <cstdint>
#include <vector>

namespace t2v::sched {

// 1000 * warp(1 - i/steps), from 1000 on: four steps of shift 5 are 1000, 937.5, 833.3, 625.
std::vector<double> warped_timesteps(int64_t steps, double shift);

// rCM: angles atan(sigma_max), 1.5, 1.4, 1.0, as noise levels sin/(sin + cos). steps 1..4.
constexpr int64_t kMaxRcmSteps = 4;
std::vector<double> rcm_timesteps(int64_t steps, double sigma_max);

}  // namespace t2v::sched
