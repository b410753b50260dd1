// Times work on the CPU or on a GPU, and prints results as JSON lines. For benchmark programs only.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace t2v::bench {

struct Spread {
  double median = 0, low = 0, high = 0;  // low and high: the fastest and the slowest
  int64_t count = 0;
};
Spread spread_of(std::vector<double> values);

class DeviceClock {
 public:
  // Loads the CUDA back end for CUDA devices. Throws Error{kDevice}.
  explicit DeviceClock(at::Device device);
  [[nodiscard]] at::Device device() const noexcept { return device_; }

  // Waits for everything that was asked of the device.
  void wait() const;
  // Milliseconds between the two ends of `work` on the device: on CUDA, events around it; the gaps
  // between its launches count.
  [[nodiscard]] double time_once(const std::function<void()>& work) const;
  // A warm-up, then `repeats` samples; with a seconds limit fewer (at least 2) when they take
  // longer. A sample is the mean of so many calls in a row that the first launch's delay does not
  // count (2 ms together). `work` gets the number of the call, to rotate buffers by.
  [[nodiscard]] Spread time(int repeats, const std::function<void(int64_t)>& work,
                            double limit_s = 20) const;

 private:
  at::Device device_;
};

// Collects fields in order and prints them as one JSON object a line.
class JsonLine {
 public:
  JsonLine& add(const char* key, const std::string& value);
  JsonLine& add(const char* key, const char* value) { return add(key, std::string(value)); }
  JsonLine& add(const char* key, double value);
  JsonLine& add(const char* key, int64_t value);
  // <key>_ms, <key>_ms_low, <key>_ms_high, repeats.
  JsonLine& add(const char* key, const Spread& spread);
  void print() const;

 private:
  JsonLine& raw(const std::string& key, const std::string& value);
  std::string text_;
};

// "--name value" pairs of a command line; unknown ones end the program with a message.
class Arguments {
 public:
  // known: names with their defaults, in the order of the usage line.
  Arguments(int argc, char** argv, std::vector<std::pair<std::string, std::string>> known);
  [[nodiscard]] const std::string& text(const std::string& name) const;
  [[nodiscard]] int64_t number(const std::string& name) const;
  [[nodiscard]] bool on(const std::string& name) const { return number(name) != 0; }
  [[nodiscard]] at::Device device() const;  // of "device": cpu, cuda or cuda:N

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

// What `run` returns; 1, with a line on stderr, for what it throws.
int guarded_main(const char* program, const std::function<int()>& run);

// Device name, capability, memory: one JSON line named "device".
void print_device(at::Device device);

// Normal numbers on the device.
at::Tensor random_tensor(at::IntArrayRef shape, at::ScalarType type, at::Device device,
                         double scale = 1);

// Bytes per second that a large copy on the device moves, read plus written.
double measure_copy_bytes_per_s(const DeviceClock& clock, int64_t bytes);

// FLOP per second of an [m, k] x [k, n] product in `type` through LibTorch.
double measure_gemm_flop_per_s(const DeviceClock& clock, int64_t m, int64_t n, int64_t k,
                               at::ScalarType type);

}  // namespace t2v::bench
