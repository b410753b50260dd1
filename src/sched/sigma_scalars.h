// Scalars of exponential-integrator solvers: alpha = 1 - sigma, lambda = ln(alpha) - ln(sigma).
#pragma once

#include <cmath>
#include <vector>

#include "sched/noise_schedule.h"

namespace t2v::sched {

class SigmaScalars {
 public:
  explicit SigmaScalars(const NoiseSchedule& schedule)
      : sigmas_(schedule.sigmas.begin(), schedule.sigmas.end()) {}

  [[nodiscard]] double sigma(int64_t i) const { return sigmas_.at(static_cast<size_t>(i)); }
  [[nodiscard]] double alpha(int64_t i) const { return 1.0 - sigma(i); }
  // -inf at sigma 1, +inf at sigma 0.
  [[nodiscard]] double lambda(int64_t i) const { return std::log(alpha(i)) - std::log(sigma(i)); }
  [[nodiscard]] int64_t num_steps() const { return static_cast<int64_t>(sigmas_.size()) - 1; }

 private:
  std::vector<double> sigmas_;
};

}  // namespace t2v::sched
