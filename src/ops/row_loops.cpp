#include "ops/row_loops.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/cpu_clones.h"

namespace t2v::ops::row {
namespace {

constexpr int64_t kLanes = 16;  // partial sums, so that sums vectorise with a fixed order

inline float bf16_to_float(uint16_t v) {
  return std::bit_cast<float>(static_cast<uint32_t>(v) << 16);
}

inline uint16_t float_to_bf16(float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  return (bits & 0x7fffffffU) > 0x7f800000U ? uint16_t{0x7fc0} : static_cast<uint16_t>(rounded);
}

}  // namespace

T2V_CLONES void widen_bf16(const uint16_t* __restrict x, float* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = bf16_to_float(x[i]);
}

T2V_CLONES void narrow_bf16(const float* __restrict x, uint16_t* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = float_to_bf16(x[i]);
}

T2V_CLONES double sum(const float* __restrict x, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] += x[i + k];
  double total = 0;
  for (const float lane : lanes) total += static_cast<double>(lane);
  for (; i < n; ++i) total += static_cast<double>(x[i]);
  return total;
}

T2V_CLONES double sum_squared_distance(const float* __restrict x, float centre, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) {
      const float d = x[i + k] - centre;
      lanes[k] += d * d;
    }
  }
  double total = 0;
  for (const float lane : lanes) total += static_cast<double>(lane);
  for (; i < n; ++i)
    total += static_cast<double>(x[i] - centre) * static_cast<double>(x[i] - centre);
  return total;
}

T2V_CLONES void normalise_affine(const float* __restrict x, float centre, float factor,
                                 const float* __restrict a, const float* __restrict b,
                                 float* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - centre) * factor * a[i] + b[i];
}

T2V_CLONES void scale_by(const float* __restrict x, float factor, const float* __restrict a,
                         float* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * factor * a[i];
}

T2V_CLONES void rotate_pairs(const float* __restrict x, const float* __restrict c,
                             const float* __restrict s, float* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; i += 2) {
    y[i] = x[i] * c[i] + x[i + 1] * s[i];
    y[i + 1] = x[i + 1] * c[i + 1] + x[i] * s[i + 1];
  }
}

T2V_CLONES void add_gated_fp32(float* __restrict x, const float* __restrict branch,
                               const float* __restrict gate, int64_t n) {
  if (gate) {
    for (int64_t i = 0; i < n; ++i) x[i] += branch[i] * gate[i];
  } else {
    for (int64_t i = 0; i < n; ++i) x[i] += branch[i];
  }
}

T2V_CLONES void add_gated_bf16(float* __restrict x, const uint16_t* __restrict branch,
                               const float* __restrict gate, int64_t n) {
  if (gate) {
    for (int64_t i = 0; i < n; ++i) x[i] += bf16_to_float(branch[i]) * gate[i];
  } else {
    for (int64_t i = 0; i < n; ++i) x[i] += bf16_to_float(branch[i]);
  }
}

}  // namespace t2v::ops::row
