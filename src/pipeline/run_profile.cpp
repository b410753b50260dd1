#include "pipeline/run_profile.h"

#include <ATen/ops/ones.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <utility>

#include "ops/linear.h"

namespace t2v::pipeline {
namespace {

// Large enough for the matrix units, small enough for a tenth of a second on two cores.
constexpr int64_t kCpuRows = 1024;
constexpr int64_t kCpuWidth = 2048;
constexpr int64_t kDeviceWidth = 8192;
constexpr int kTries = 4;

// Seconds of the fastest try.
double fastest_product(c10::Device device, const ops::Linear& linear, const at::Tensor& x) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int i = 0; i <= kTries; ++i) {  // the first one warms up
    const auto begin = Clock::now();
    const at::Tensor y = linear(x);
    if (!device.is_cpu()) {
      c10::Event done(device.type());
      done.record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
      done.synchronize();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (i > 0 && (best == 0 || seconds < best)) best = seconds;
  }
  return best;
}

double measure_peak(c10::Device device, c10::ScalarType dtype) {
  const int64_t rows = device.is_cpu() ? kCpuRows : kDeviceWidth;
  const int64_t width = device.is_cpu() ? kCpuWidth : kDeviceWidth;
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  const ops::OpTimer::Use uncounted(nullptr, 0);
  const ops::Linear linear(at::ones({width, width}, options), at::Tensor());
  const double seconds = fastest_product(device, linear, at::ones({rows, width}, options));
  return seconds > 0 ? ops::product_flop(rows, width, width) / seconds : 0;
}

}  // namespace

int RunProfile::stage_bin(Stage stage) {
  const auto found = stage_bins_.find(stage);
  if (found != stage_bins_.end()) return found->second;
  return stage_bins_.emplace(stage, timer_.new_bin()).first->second;
}

int RunProfile::step_bin(size_t index) {
  return step_bins_.insert_or_assign(index, timer_.new_bin()).first->second;
}

void RunProfile::fill(Report& report) {
  timer_.settle();
  ops::OpTotal denoising;
  for (const auto& [index, bin] : step_bins_) {
    const ops::OpTotal& sums = timer_.bin(bin);
    denoising.ms += sums.ms;
    denoising.flop += sums.flop;
    if (index < report.steps.size()) report.steps[index].device_ms = sums.ms;
  }
  for (StageTime& stage : report.stages) {
    ops::OpTotal sums = stage.stage == Stage::kDenoise ? denoising : ops::OpTotal{};
    if (const auto bin = stage_bins_.find(stage.stage); bin != stage_bins_.end()) {
      sums.ms += timer_.bin(bin->second).ms;
      sums.flop += timer_.bin(bin->second).flop;
    }
    if (sums.ms > 0) stage.device_ms = sums.ms;
    if (is_cpu_) stage.device_ms = stage.wall_ms;
    if (stage.stage == Stage::kDenoise && sums.flop > 0 && stage.wall_ms > 0)
      report.denoise_flop_per_s = sums.flop / stage.wall_ms * 1000;
  }
  if (is_cpu_)
    for (StepTime& step : report.steps) step.device_ms = step.wall_ms;
  for (const auto& [name, total] : timer_.totals()) {
    auto known = std::find_if(report.kernels.begin(), report.kernels.end(),
                              [&wanted = name](const KernelTime& k) { return k.name == wanted; });
    if (known == report.kernels.end())
      known = report.kernels.insert(report.kernels.end(), {.name = std::string(name)});
    known->calls += total.calls;
    known->device_ms += total.ms;
    known->flop += total.flop;
    report.flop += total.flop;
  }
  std::sort(report.kernels.begin(), report.kernels.end(),
            [](const KernelTime& a, const KernelTime& b) { return a.device_ms > b.device_ms; });
  report.memory = memory_.points();
}

double peak_flop_per_s(c10::Device device, c10::ScalarType dtype) noexcept {
  try {
    static std::mutex mutex;
    static std::map<std::pair<c10::DeviceType, c10::ScalarType>, double> known;
    const std::lock_guard lock(mutex);
    double& rate = known[{device.type(), dtype}];
    if (rate == 0) rate = measure_peak(device, dtype);
    return rate;
  } catch (...) {  // out of memory
    return 0;
  }
}

}  // namespace t2v::pipeline
