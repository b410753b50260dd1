#include "ops/vae_norm_loops.h"

#include <bit>
#include <cmath>

#include "core/cpu_clones.h"
#define T2V_INLINE inline __attribute__((always_inline))

namespace t2v::ops::row {
namespace {

constexpr int64_t kLanes = 16;  // partial sums, so that sums vectorise with a fixed order

T2V_INLINE float load(float v) { return v; }
T2V_INLINE float load(uint16_t v) { return std::bit_cast<float>(static_cast<uint32_t>(v) << 16); }

T2V_INLINE void store(float v, float& to) { to = v; }
// Nearest even. NaN stays NaN unless only its lowest bits are set, which arithmetic never makes.
T2V_INLINE void store(float v, uint16_t& to) {
  const auto bits = std::bit_cast<uint32_t>(v);
  to = static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

// e^x for |x| <= 87: 2^n * polynomial on [-ln2/2, ln2/2], relative error below 2e-7.
T2V_INLINE float exp_within(float x) {
  constexpr float kLog2e = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.F;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * kLog2e + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691e-4F;
  p = p * r + 1.3981999e-3F;
  p = p * r + 8.3334519e-3F;
  p = p * r + 4.1665796e-2F;
  p = p * r + 1.6666665e-1F;
  p = p * r + 5.0000001e-1F;
  p = p * r * r + r + 1.F;
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) + 127U) << 23;
  return p * std::bit_cast<float>(exponent);
}

T2V_INLINE float silu(float x) {
  // A comparison that is false for NaN keeps NaN.
  const float low = x < -87.F ? -87.F : x;
  const float within = low > 87.F ? 87.F : low;
  return x / (1.F + exp_within(-within));
}

template <typename T>
T2V_INLINE float widen_and_norm(const T* from, float* pixel, int64_t channels) {
  float lanes[kLanes] = {};
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) {
      const float v = load(from[c + k]);
      pixel[c + k] = v;
      lanes[k] += v * v;
    }
  }
  float total = 0;
  for (; c < channels; ++c) {
    pixel[c] = load(from[c]);
    total += pixel[c] * pixel[c];
  }
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t k = 0; k < width; ++k) lanes[k] += lanes[k + width];
  return std::sqrt(total + lanes[0]);
}

template <bool kSilu, typename T>
T2V_INLINE void normalise(const PixelRows<T>& rows, const PixelNorm& norm) {
  const int64_t channels = norm.channels;
  float* __restrict pixel = norm.pixel;
  const float* __restrict factors = norm.factors;
  for (int64_t i = 0; i < norm.count; ++i) {
    const float length = widen_and_norm(rows.from + i * rows.from_stride, pixel, channels);
    const float scale = 1.F / (length < 1e-12F ? 1e-12F : length);
    T* __restrict to = rows.to + i * rows.to_stride;
    for (int64_t c = 0; c < channels; ++c) {
      const float y = pixel[c] * scale * factors[c];
      store(kSilu ? silu(y) : y, to[c]);
    }
  }
}

}  // namespace

template <>
T2V_CLONES void normalise_pixels<float>(const PixelRows<float>& rows, const PixelNorm& norm) {
  normalise<false>(rows, norm);
}
template <>
T2V_CLONES void normalise_pixels<uint16_t>(const PixelRows<uint16_t>& rows, const PixelNorm& norm) {
  normalise<false>(rows, norm);
}
template <>
T2V_CLONES void normalise_pixels_silu<float>(const PixelRows<float>& rows, const PixelNorm& norm) {
  normalise<true>(rows, norm);
}
template <>
T2V_CLONES void normalise_pixels_silu<uint16_t>(const PixelRows<uint16_t>& rows,
                                                const PixelNorm& norm) {
  normalise<true>(rows, norm);
}

}  // namespace t2v::ops::row
