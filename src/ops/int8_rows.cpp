#include "ops/int8_rows.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/cpu_clones.h"

namespace t2v::ops::row {
namespace {

constexpr int kLanes = 16;
constexpr float kSmallestMaximum = 1e-5F;
constexpr float kLargest = 127.0F;
// Added and taken away, it rounds what is small beside it half to even; its low byte is then the
// integer.
constexpr float kRounder = 12582912.0F;

using Lanes = float __attribute__((vector_size(64)));

// (a, b, c, d) -> 2 H4 (a, b, c, d), of digits that lie `inner` vectors apart.
T2V_INLINE void stage_between(Lanes* v, int inner) {
  for (int i = 0; i < inner; ++i) {
    const Lanes sum = v[i] + v[i + inner];
    const Lanes difference = v[i] - v[i + inner];
    const Lanes other_sum = v[i + 2 * inner] + v[i + 3 * inner];
    const Lanes other_difference = v[i + 2 * inner] - v[i + 3 * inner];
    v[i] = sum + other_difference;
    v[i + inner] = sum - other_difference;
    v[i + 2 * inner] = difference + other_sum;
    v[i + 3 * inner] = other_sum - difference;
  }
}

// The digit that lies in the two low bits of the lane's number.
T2V_INLINE void stage_neighbours(Lanes& v) {
  constexpr Lanes kSigns = {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
  const Lanes sums =
      __builtin_shufflevector(v, v, 0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14) +
      __builtin_shufflevector(v, v, 1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15, 15) * kSigns;
  v = __builtin_shufflevector(sums, sums, 0, 0, 1, 2, 4, 4, 5, 6, 8, 8, 9, 10, 12, 12, 13, 14) +
      __builtin_shufflevector(sums, sums, 3, 3, 2, 1, 7, 7, 6, 5, 11, 11, 10, 9, 15, 15, 14, 13) *
          kSigns;
}

// The digit in the two high bits of the lane's number.
T2V_INLINE void stage_quarters(Lanes& v) {
  constexpr Lanes kSigns = {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1};
  const Lanes sums =
      __builtin_shufflevector(v, v, 0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11) +
      __builtin_shufflevector(v, v, 4, 5, 6, 7, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15) *
          kSigns;
  v = __builtin_shufflevector(sums, sums, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) +
      __builtin_shufflevector(sums, sums, 12, 13, 14, 15, 12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6,
                              7) *
          kSigns;
}

template <int kVectors>
T2V_INLINE void rotate_group(float* x) {
  Lanes v[kVectors];
  std::memcpy(v, x, sizeof v);
  for (int i = 0; i < kVectors; ++i) {
    stage_neighbours(v[i]);
    stage_quarters(v[i]);
  }
  for (int i = 0; i < kVectors; i += 4)
    if (kVectors > 1) stage_between(v + i, 1);
  if (kVectors > 4) stage_between(v, 4);
  // 1/2 of each H4: exact.
  constexpr float kFactor = kVectors == 16 ? 0.0625F : kVectors == 4 ? 0.125F : 0.25F;
  for (int i = 0; i < kVectors; ++i) v[i] *= kFactor;
  std::memcpy(x, v, sizeof v);
}

}  // namespace

T2V_CLONES void rotate_groups(float* x, int64_t n, int64_t group) {
  if (group == 256) {
    for (int64_t i = 0; i < n; i += 256) rotate_group<16>(x + i);
  } else if (group == 64) {
    for (int64_t i = 0; i < n; i += 64) rotate_group<4>(x + i);
  } else if (group == 16) {
    for (int64_t i = 0; i < n; i += 16) rotate_group<1>(x + i);
  } else if (group == 4) {
    for (int64_t i = 0; i < n; i += 4) {
      const float sum = x[i] + x[i + 1];
      const float difference = x[i] - x[i + 1];
      const float other_sum = x[i + 2] + x[i + 3];
      const float other_difference = x[i + 2] - x[i + 3];
      x[i] = (sum + other_difference) * 0.5F;
      x[i + 1] = (sum - other_difference) * 0.5F;
      x[i + 2] = (difference + other_sum) * 0.5F;
      x[i + 3] = (other_sum - difference) * 0.5F;
    }
  }
}

T2V_CLONES float int8_scale(const float* __restrict x, int64_t n) {
  // Bits of magnitudes are in the order of their values, infinity and NaN above them all.
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i)
    largest = std::max(largest, std::bit_cast<int32_t>(x[i]) & 0x7fffffff);
  const auto maximum = std::bit_cast<float>(largest);
  return (maximum < kSmallestMaximum ? kSmallestMaximum : maximum) / kLargest;
}

T2V_CLONES void quantise(const float* __restrict x, float scale, int8_t* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    y[i] = static_cast<int8_t>(std::bit_cast<int32_t>(x[i] / scale + kRounder));
}

T2V_CLONES void expand_int8(const int8_t* __restrict x, float scale, float* __restrict y,
                            int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i]) * scale;
}

T2V_CLONES int32_t sum_int8(const int8_t* __restrict x, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}

}  // namespace t2v::ops::row
