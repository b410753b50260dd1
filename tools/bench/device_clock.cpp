#include "bench/device_clock.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "core/check.h"
#include "ops/backend.h"
#include "ops/device.h"

namespace t2v::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kSampleMs = 2;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

c10::Stream current_stream(at::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  T2V_ASSERT(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {.median = median,
          .low = values.front(),
          .high = values.back(),
          .count = static_cast<int64_t>(values.size())};
}

DeviceClock::DeviceClock(at::Device device) : device_(device) {
  if (device.is_cpu()) return;
  T2V_REQUIRE(ops::count_cuda_devices() > 0, ErrorKind::kDevice,
              "no CUDA device on this machine (--device); try --device cpu");
  ops::load_cuda_backend();
}

void DeviceClock::wait() const {
  if (device_.is_cpu()) return;
  c10::impl::VirtualGuardImpl(device_.type()).synchronizeDevice(device_.index());
}

double DeviceClock::time_once(const std::function<void()>& work) const {
  if (device_.is_cpu()) {
    const auto begin = Clock::now();
    work();
    return 1e3 * seconds_since(begin);
  }
  const c10::Stream stream = current_stream(device_);
  c10::Event begin(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
  c10::Event end(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
  begin.record(stream);
  work();
  end.record(stream);
  end.synchronize();
  return begin.elapsedTime(end);
}

Spread DeviceClock::time(int repeats, const std::function<void(int64_t)>& work,
                         double limit_s) const {
  int64_t calls = 0;
  work(calls++);
  wait();
  const double one_ms = time_once([&] { work(calls++); });
  const auto in_a_row =
      static_cast<int64_t>(std::clamp(std::ceil(kSampleMs / std::max(one_ms, 1e-3)), 1.0, 200.0));
  const auto begin = Clock::now();
  std::vector<double> times;
  for (int i = 0; i < repeats && (i < 2 || seconds_since(begin) < limit_s); ++i) {
    const double sample_ms = time_once([&] {
      for (int64_t k = 0; k < in_a_row; ++k) work(calls++);
    });
    times.push_back(sample_ms / static_cast<double>(in_a_row));
  }
  return spread_of(times);
}

JsonLine& JsonLine::raw(const std::string& key, const std::string& value) {
  text_ += core::str(text_.empty() ? "{\"" : ", \"", key, "\": ", value);
  return *this;
}

JsonLine& JsonLine::add(const char* key, const std::string& value) {
  std::string escaped;
  for (const char c : value)
    if (static_cast<unsigned char>(c) >= ' ')
      escaped += c == '"' || c == '\\' ? core::str('\\', c) : std::string(1, c);
  return raw(key, core::str('"', escaped, '"'));
}

JsonLine& JsonLine::add(const char* key, double value) {
  if (!std::isfinite(value)) return raw(key, "null");
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return raw(key, text);
}

JsonLine& JsonLine::add(const char* key, int64_t value) { return raw(key, core::str(value)); }

JsonLine& JsonLine::add(const char* key, const Spread& spread) {
  add(core::str(key, "_ms").c_str(), spread.median);
  add(core::str(key, "_ms_low").c_str(), spread.low);
  add(core::str(key, "_ms_high").c_str(), spread.high);
  return add("repeats", spread.count);
}

void JsonLine::print() const {
  std::printf("%s}\n", text_.c_str());
  std::fflush(stdout);
}

Arguments::Arguments(int argc, char** argv, std::vector<std::pair<std::string, std::string>> known)
    : values_(std::move(known)) {
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    const auto found = std::find_if(values_.begin(), values_.end(),
                                    [&](const auto& value) { return name == "--" + value.first; });
    if (found == values_.end() || i + 1 >= argc) {
      std::string usage = core::str("usage: ", argv[0]);
      for (const auto& [option, value] : values_)
        usage += core::str(" [--", option, " ", value, "]");
      std::fprintf(stderr, "%s\n", usage.c_str());
      std::exit(2);
    }
    found->second = argv[i + 1];
  }
}

const std::string& Arguments::text(const std::string& name) const {
  const auto found = std::find_if(values_.begin(), values_.end(),
                                  [&](const auto& value) { return value.first == name; });
  T2V_ASSERT(found != values_.end());
  return found->second;
}

int64_t Arguments::number(const std::string& name) const {
  return std::strtoll(text(name).c_str(), nullptr, 10);
}

at::Device Arguments::device() const {
  at::Device device(text("device"));
  if (!device.is_cpu() && !device.has_index()) device = at::Device(device.type(), 0);
  return device;
}

int guarded_main(const char* program, const std::function<int()>& run) {
  try {
    return run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    return 1;
  }
}

void print_device(at::Device device) {
  JsonLine line;
  line.add("name", "device").add("device", device.str());
  if (!device.is_cpu()) {
    const ops::DeviceFacts facts = ops::device_facts(device);
    line.add("model", facts.name)
        .add("capability", int64_t{facts.capability})
        .add("multiprocessors", int64_t{facts.multiprocessors})
        .add("total_bytes", facts.total_bytes);
  }
  line.print();
}

at::Tensor random_tensor(at::IntArrayRef shape, at::ScalarType type, at::Device device,
                         double scale) {
  // Made in the wanted type: an fp32 copy of the largest ones would double the peak.
  at::Tensor values = at::empty(shape, at::TensorOptions().dtype(type).device(device));
  values.normal_(0, scale);
  return values;
}

double measure_copy_bytes_per_s(const DeviceClock& clock, int64_t bytes) {
  const at::Tensor from = random_tensor({bytes / 4}, at::kFloat, clock.device());
  at::Tensor to = at::empty_like(from);
  const Spread spread = clock.time(9, [&](int64_t) { to.copy_(from); });
  return 2.0 * static_cast<double>(from.nbytes()) / (spread.median / 1e3);
}

double measure_gemm_flop_per_s(const DeviceClock& clock, int64_t m, int64_t n, int64_t k,
                               at::ScalarType type) {
  const at::Tensor a = random_tensor({m, k}, type, clock.device());
  const at::Tensor b = random_tensor({n, k}, type, clock.device(), 0.02);
  at::Tensor out = at::empty({m, n}, a.options());
  const Spread spread = clock.time(7, [&](int64_t) { at::mm_out(out, a, b.t()); });
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) /
         (spread.median / 1e3);
}

}  // namespace t2v::bench
