#include "weights/expand_loops.h"

#include <bit>
#include <cstring>

#include "core/cpu_clones.h"
#include "weights/ggml_blocks.h"

namespace t2v::weights::loops {
namespace {

// Four numbers that compilers keep in one register.
using Lanes = float __attribute__((vector_size(16)));

inline uint16_t bf16_of(float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  return (bits & 0x7fffffffU) > 0x7f800000U ? uint16_t{0x7fc0} : static_cast<uint16_t>(rounded);
}

// Without branches. Subnormal halves are rounded by an addition of 0.5, whose last place is theirs.
inline uint16_t half_of(float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  const uint32_t sign = bits >> 16 & 0x8000U;
  const uint32_t magnitude = bits & 0x7fffffffU;
  const float small = std::bit_cast<float>(magnitude < 0x38800000U ? magnitude : 0U) + 0.5F;
  const uint32_t subnormal = std::bit_cast<uint32_t>(small) - 0x3f000000U;
  const uint32_t normal = (magnitude + 0xfffU + (magnitude >> 13 & 1U) - 0x38000000U) >> 13;
  const uint32_t special = magnitude > 0x7f800000U ? 0x7e00U : 0x7c00U;
  const uint32_t finite = magnitude < 0x38800000U ? subnormal : normal;
  return static_cast<uint16_t>(sign | (magnitude >= 0x47800000U ? special : finite));
}

}  // namespace

#define T2V_EXPAND(name, elements, bytes)                                                          \
  T2V_CLONES void name(const uint8_t* __restrict blocks, int64_t num_blocks,                       \
                       float* __restrict y) {                                                      \
    for (int64_t i = 0; i < num_blocks; ++i) ggml::name(blocks + i * (bytes), y + i * (elements)); \
  }
namespace {
T2V_EXPAND(q4_0, 32, 18)
T2V_EXPAND(q4_1, 32, 20)
T2V_EXPAND(q5_0, 32, 22)
T2V_EXPAND(q5_1, 32, 24)
T2V_EXPAND(q8_0, 32, 34)
T2V_EXPAND(q2_k, 256, 84)
T2V_EXPAND(q3_k, 256, 110)
T2V_EXPAND(q4_k, 256, 144)
T2V_EXPAND(q5_k, 256, 176)
T2V_EXPAND(q6_k, 256, 210)
}  // namespace
#undef T2V_EXPAND

void expand_blocks(Encoding encoding, const uint8_t* blocks, int64_t num_blocks, float* y) {
  switch (encoding) {
    case Encoding::kQ4_0:
      return q4_0(blocks, num_blocks, y);
    case Encoding::kQ4_1:
      return q4_1(blocks, num_blocks, y);
    case Encoding::kQ5_0:
      return q5_0(blocks, num_blocks, y);
    case Encoding::kQ5_1:
      return q5_1(blocks, num_blocks, y);
    case Encoding::kQ8_0:
      return q8_0(blocks, num_blocks, y);
    case Encoding::kQ2_K:
      return q2_k(blocks, num_blocks, y);
    case Encoding::kQ3_K:
      return q3_k(blocks, num_blocks, y);
    case Encoding::kQ4_K:
      return q4_k(blocks, num_blocks, y);
    case Encoding::kQ5_K:
      return q5_k(blocks, num_blocks, y);
    case Encoding::kQ6_K:
      return q6_k(blocks, num_blocks, y);
    case Encoding::kPlain:
      break;
  }
}

T2V_CLONES void expand_int8(const int8_t* __restrict x, float scale, float* __restrict y,
                            int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i]) * scale;
}

T2V_CLONES void expand_table(const uint8_t* __restrict x, const float* __restrict table,
                             float scale, float* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]] * scale;
}

// One radix-4 stage for each factor H4 of R; every sum is halved, which is exact.
T2V_CLONES void rotate(float* y, int64_t n, int64_t group) {
  for (int64_t base = 0; base < n; base += 4) {  // neighbours: lanes of one vector
    Lanes v;
    std::memcpy(&v, y + base, sizeof v);
    const Lanes sums = __builtin_shufflevector(v, v, 0, 0, 2, 2) +
                       __builtin_shufflevector(v, v, 1, 1, 3, 3) * Lanes{1, -1, 1, -1};
    const Lanes out = (__builtin_shufflevector(sums, sums, 0, 0, 1, 2) +
                       __builtin_shufflevector(sums, sums, 3, 3, 2, 1) * Lanes{1, -1, 1, -1}) *
                      0.5F;
    std::memcpy(y + base, &out, sizeof out);
  }
  for (int64_t inner = 4; inner < group; inner *= 4) {
    for (int64_t base = 0; base < n; base += 4 * inner) {
      for (int64_t i = base; i < base + inner; i += 4) {
        Lanes a;
        Lanes b;
        Lanes c;
        Lanes d;
        std::memcpy(&a, y + i, sizeof a);
        std::memcpy(&b, y + i + inner, sizeof b);
        std::memcpy(&c, y + i + 2 * inner, sizeof c);
        std::memcpy(&d, y + i + 3 * inner, sizeof d);
        const Lanes sum = a + b;
        const Lanes difference = a - b;
        const Lanes other_sum = c + d;
        const Lanes other_difference = c - d;
        a = (sum + other_difference) * 0.5F;
        b = (sum - other_difference) * 0.5F;
        c = (difference + other_sum) * 0.5F;
        d = (other_sum - difference) * 0.5F;
        std::memcpy(y + i, &a, sizeof a);
        std::memcpy(y + i + inner, &b, sizeof b);
        std::memcpy(y + i + 2 * inner, &c, sizeof c);
        std::memcpy(y + i + 3 * inner, &d, sizeof d);
      }
    }
  }
}

T2V_CLONES void narrow_bf16(const float* __restrict x, uint16_t* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = bf16_of(x[i]);
}

T2V_CLONES void narrow_half(const float* __restrict x, uint16_t* __restrict y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = half_of(x[i]);
}

}  // namespace t2v::weights::loops
