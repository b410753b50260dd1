// Noise levels and timesteps of a sampling run (flow matching: x = (1-sigma)*x0 + sigma*noise).
#pragma once

#include <cstdint>
#include <vector>

#include "t2v/request.h"

namespace t2v::sched {

struct NoiseSchedule {
  std::vector<float> sigmas;  // steps + 1 values, strictly falling, the last one 0
  // steps values, what the model is given: trunc(1000 * sigma), or as a list has them.
  std::vector<double> timesteps;

  [[nodiscard]] int64_t num_steps() const { return static_cast<int64_t>(timesteps.size()); }
};

// The warp of the schedule: shift*u / (1 + (shift-1)*u); shift 1 changes nothing.
double shift_sigma(double u, double shift) noexcept;

// All values in fp64, stored as fp32. Tables: `wan` follows the original Wan program (which starts
// UniPC at 0.999 of the range and DPM++/Euler at 1), `diffusers` the diffusers library.
// steps 1..1000, shift > 0. Throws Error{kUsage}.
NoiseSchedule make_noise_schedule(Solver solver, SigmaTable table, int64_t steps, double shift);

// Of explicit timesteps: sigma = t / 1000, and the model is given t as it is. They fall strictly
// within 0 < t <= 1000, 1 to 1000 of them. Throws Error{kUsage}.
NoiseSchedule make_listed_schedule(const std::vector<double>& timesteps);

// The high-noise expert runs while timestep >= boundary * 1000.
bool uses_high_noise(double timestep, double boundary) noexcept;

}  // namespace t2v::sched
