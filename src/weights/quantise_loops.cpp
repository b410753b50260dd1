#include "weights/quantise_loops.h"

#include <bit>
#include <cstring>

#include "core/cpu_clones.h"

namespace t2v::weights::loops {
namespace {

// Sums run in sixteen lanes, whatever the width of the machine's registers.
constexpr int64_t kLanes = 16;
using Lanes = float __attribute__((vector_size(4 * kLanes)));
using Bytes = int8_t __attribute__((vector_size(kLanes)));
constexpr int64_t kSegment = 4096;  // elements that are summed in fp32 before they go into doubles

// Adding and taking it away leaves the nearest whole number, half to even, of |x| < 2^22.
constexpr float kRounder = 12582912.F;

double sum_of(const Lanes& lanes) {
  double sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += static_cast<double>(lanes[i]);
  return sum;
}

}  // namespace

T2V_CLONES void widen_bf16(const uint16_t* __restrict x, float* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = std::bit_cast<float>(static_cast<uint32_t>(x[i]) << 16);
}

// Normal numbers by moving exponent and mantissa, subnormal ones by an exact subtraction.
T2V_CLONES void widen_half(const uint16_t* __restrict x, float* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = x[i];
    const uint32_t sign = (bits & 0x8000U) << 16;
    const uint32_t magnitude = bits & 0x7fffU;
    const uint32_t moved = (magnitude << 13) + 0x38000000U;
    const uint32_t special = (magnitude << 13) | 0x7f800000U;
    const float small = std::bit_cast<float>(0x3f000000U + magnitude) - 0.5F;  // x 2^-24
    const uint32_t value = magnitude >= 0x7c00U ? special
                           : magnitude < 0x400U ? std::bit_cast<uint32_t>(small)
                                                : moved;
    y[i] = std::bit_cast<float>(sign | value);
  }
}

// Without their signs, floats are ordered as their bits; infinity and NaN are above all others.
T2V_CLONES float largest(const float* __restrict x, int64_t n) {
  uint32_t most = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffU;
    most = bits > most ? bits : most;
  }
  return std::bit_cast<float>(most);
}

T2V_CLONES uint16_t largest_bits(const uint16_t* __restrict x, int64_t n) {
  uint16_t most = 0;
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = static_cast<uint16_t>(x[i] & 0x7fffU);
    most = bits > most ? bits : most;
  }
  return most;
}

T2V_CLONES void quantise(const float* __restrict x, float scale, int8_t* __restrict q, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float rounded = (x[i] / scale + kRounder) - kRounder;
    const float low = rounded < -127.F ? -127.F : rounded;
    q[i] = static_cast<int8_t>(static_cast<int32_t>(low > 127.F ? 127.F : low));
  }
}

T2V_CLONES ErrorSums error_of(const float* __restrict x, const int8_t* __restrict q, float scale,
                              float* __restrict e, int64_t n) {
  ErrorSums sums;
  const int64_t whole = n / kLanes * kLanes;
  for (int64_t start = 0; start < whole; start += kSegment) {
    Lanes signal{};
    Lanes noise{};
    Lanes overlap{};
    const int64_t end = start + kSegment < whole ? start + kSegment : whole;
    for (int64_t i = start; i < end; i += kLanes) {
      Lanes value;
      Bytes bytes;
      std::memcpy(&value, x + i, sizeof value);
      std::memcpy(&bytes, q + i, sizeof bytes);
      const Lanes error = value - __builtin_convertvector(bytes, Lanes) * scale;
      std::memcpy(e + i, &error, sizeof error);
      signal += value * value;
      noise += error * error;
      overlap += value * error;
    }
    sums.signal += sum_of(signal);
    sums.noise += sum_of(noise);
    sums.overlap += sum_of(overlap);
  }
  for (int64_t i = whole; i < n; ++i) {
    e[i] = x[i] - static_cast<float>(q[i]) * scale;
    sums.signal += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    sums.noise += static_cast<double>(e[i]) * static_cast<double>(e[i]);
    sums.overlap += static_cast<double>(x[i]) * static_cast<double>(e[i]);
  }
  return sums;
}

}  // namespace t2v::weights::loops
