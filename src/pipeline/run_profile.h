// What --profile adds to a run's report: times and FLOP of operations, bytes copied to the device,
// the memory curve, and the rate that a large matrix product reaches here.
#pragma once

#include <c10/core/ScalarType.h>

#include <functional>
#include <map>
#include <vector>

#include "ops/op_timer.h"
#include "pipeline/memory_curve.h"
#include "t2v/engine.h"

namespace t2v::pipeline {

// One thread at a time, as the run itself.
class RunProfile {
 public:
  RunProfile(c10::Device device, std::function<double()> elapsed_ms)
      : memory_(device, std::move(elapsed_ms)), is_cpu_(device.is_cpu()) {}

  [[nodiscard]] ops::OpTimer& timer() noexcept { return timer_; }
  // Where operations of this stage are counted, outside of steps.
  [[nodiscard]] int stage_bin(Stage stage);
  // Where those of a step are, which is the next in the report; also counted for denoising.
  [[nodiscard]] int step_bin(size_t index);

  // Into a report that has its stages and steps. What it has from others (videos that took their
  // steps together) is added to.
  void fill(Report& report);

 private:
  ops::OpTimer timer_;
  MemoryCurve memory_;
  bool is_cpu_;
  std::map<Stage, int> stage_bins_;
  std::map<size_t, int> step_bins_;
};

// FLOP per second of a large matrix product in this type, measured by the first call; 0 when there
// is no memory for it.
double peak_flop_per_s(c10::Device device, c10::ScalarType dtype) noexcept;

}  // namespace t2v::pipeline
