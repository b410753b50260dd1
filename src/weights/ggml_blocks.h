// The GGML block formats, element by element: the layout of each block and its value in fp32.
// Written so that compilers vectorise the loops over l; used by expand_loops.cpp only.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace t2v::weights::ggml {

// An IEEE half at p, any alignment.
inline float load_half(const uint8_t* p) {
  uint16_t half = 0;
  std::memcpy(&half, p, sizeof half);
  const uint32_t sign = (half & 0x8000U) << 16;
  const uint32_t magnitude = half & 0x7fffU;
  if (magnitude < 0x400U) {  // zero and subnormals: exact multiples of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
  }
  const uint32_t exponent = magnitude >= 0x7c00U ? 0x70000000U : 0x38000000U;
  return std::bit_cast<float>(sign | ((magnitude << 13) + exponent));
}

inline uint32_t load_word(const uint8_t* p) {
  uint32_t word = 0;
  std::memcpy(&word, p, sizeof word);
  return word;
}

// ---- 32 elements

inline void q8_0(const uint8_t* __restrict b, float* __restrict y) {
  const float d = load_half(b);
  const uint8_t* q = b + 2;
  for (int l = 0; l < 32; ++l) y[l] = d * static_cast<float>(static_cast<int8_t>(q[l]));
}

inline void q4_0(const uint8_t* __restrict b, float* __restrict y) {
  const float d = load_half(b);
  const uint8_t* q = b + 2;
  for (int l = 0; l < 16; ++l) y[l] = d * static_cast<float>((q[l] & 15) - 8);
  for (int l = 0; l < 16; ++l) y[l + 16] = d * static_cast<float>((q[l] >> 4) - 8);
}

inline void q4_1(const uint8_t* __restrict b, float* __restrict y) {
  const float d = load_half(b);
  const float m = load_half(b + 2);
  const uint8_t* q = b + 4;
  for (int l = 0; l < 16; ++l) y[l] = d * static_cast<float>(q[l] & 15) + m;
  for (int l = 0; l < 16; ++l) y[l + 16] = d * static_cast<float>(q[l] >> 4) + m;
}

inline void q5_0(const uint8_t* __restrict b, float* __restrict y) {
  const float d = load_half(b);
  const uint32_t h = load_word(b + 2);
  const uint8_t* q = b + 6;
  for (int l = 0; l < 16; ++l) {
    const int high = static_cast<int>(h >> l & 1U) << 4;
    y[l] = d * static_cast<float>(((q[l] & 15) | high) - 16);
  }
  for (int l = 0; l < 16; ++l) {
    const int high = static_cast<int>(h >> (l + 16) & 1U) << 4;
    y[l + 16] = d * static_cast<float>(((q[l] >> 4) | high) - 16);
  }
}

inline void q5_1(const uint8_t* __restrict b, float* __restrict y) {
  const float d = load_half(b);
  const float m = load_half(b + 2);
  const uint32_t h = load_word(b + 4);
  const uint8_t* q = b + 8;
  for (int l = 0; l < 16; ++l) {
    const int high = static_cast<int>(h >> l & 1U) << 4;
    y[l] = d * static_cast<float>((q[l] & 15) | high) + m;
  }
  for (int l = 0; l < 16; ++l) {
    const int high = static_cast<int>(h >> (l + 16) & 1U) << 4;
    y[l + 16] = d * static_cast<float>((q[l] >> 4) | high) + m;
  }
}

// ---- 256 elements

// The j-th pair of 6-bit (scale, minimum) of Q4_K and Q5_K.
struct ScaleMin {
  float scale;
  float minimum;
};
inline ScaleMin scale_min(const uint8_t* s, int j) {
  if (j < 4) return {static_cast<float>(s[j] & 63), static_cast<float>(s[j + 4] & 63)};
  return {static_cast<float>((s[j + 4] & 15) | (s[j - 4] >> 6) << 4),
          static_cast<float>((s[j + 4] >> 4) | (s[j] >> 6) << 4)};
}

inline void q4_k(const uint8_t* __restrict b, float* __restrict y) {
  const float d = load_half(b);
  const float dmin = load_half(b + 2);
  for (int g = 0; g < 4; ++g) {
    const uint8_t* q = b + 16 + 32 * g;
    const ScaleMin low = scale_min(b + 4, 2 * g);
    const ScaleMin high = scale_min(b + 4, 2 * g + 1);
    const float d1 = d * low.scale;
    const float m1 = dmin * low.minimum;
    const float d2 = d * high.scale;
    const float m2 = dmin * high.minimum;
    for (int l = 0; l < 32; ++l) y[64 * g + l] = d1 * static_cast<float>(q[l] & 15) - m1;
    for (int l = 0; l < 32; ++l) y[64 * g + 32 + l] = d2 * static_cast<float>(q[l] >> 4) - m2;
  }
}

inline void q5_k(const uint8_t* __restrict b, float* __restrict y) {
  const float d = load_half(b);
  const float dmin = load_half(b + 2);
  const uint8_t* h = b + 16;
  for (int g = 0; g < 4; ++g) {
    const uint8_t* q = b + 48 + 32 * g;
    const ScaleMin low = scale_min(b + 4, 2 * g);
    const ScaleMin high = scale_min(b + 4, 2 * g + 1);
    const float d1 = d * low.scale;
    const float m1 = dmin * low.minimum;
    const float d2 = d * high.scale;
    const float m2 = dmin * high.minimum;
    for (int l = 0; l < 32; ++l) {
      const int value = (q[l] & 15) + ((h[l] >> (2 * g) & 1) << 4);
      y[64 * g + l] = d1 * static_cast<float>(value) - m1;
    }
    for (int l = 0; l < 32; ++l) {
      const int value = (q[l] >> 4) + ((h[l] >> (2 * g + 1) & 1) << 4);
      y[64 * g + 32 + l] = d2 * static_cast<float>(value) - m2;
    }
  }
}

// Runs of 16 elements share one scale: run r lies in half n = r / 8, quarter j = r / 2 % 4 of it.
inline void q6_k(const uint8_t* __restrict b, float* __restrict y) {
  const float d = load_half(b + 208);
  for (int r = 0; r < 16; ++r) {
    const int n = r / 8;
    const int j = r / 2 % 4;
    const uint8_t* ql = b + 64 * n + 32 * (j & 1) + 16 * (r & 1);
    const uint8_t* qh = b + 128 + 32 * n + 16 * (r & 1);
    const int low_shift = j < 2 ? 0 : 4;
    const float scale = d * static_cast<float>(static_cast<int8_t>(b[192 + r]));
    for (int l = 0; l < 16; ++l) {
      const int value = (ql[l] >> low_shift & 15) | (qh[l] >> (2 * j) & 3) << 4;
      y[16 * r + l] = scale * static_cast<float>(value - 32);
    }
  }
}

inline void q3_k(const uint8_t* __restrict b, float* __restrict y) {
  const uint8_t* s = b + 96;
  const float d = load_half(b + 108);
  for (int r = 0; r < 16; ++r) {
    const int n = r / 8;
    const int j = r / 2 % 4;
    const uint8_t* q = b + 32 + 32 * n + 16 * (r & 1);
    const uint8_t* mask = b + 16 * (r & 1);
    const int low = r < 8 ? s[r] & 15 : s[r - 8] >> 4;
    const int high = s[8 + (r & 3)] >> (2 * (r >> 2)) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    for (int l = 0; l < 16; ++l) {
      const int value = (q[l] >> (2 * j) & 3) + 4 * (mask[l] >> (4 * n + j) & 1) - 4;
      y[16 * r + l] = scale * static_cast<float>(value);
    }
  }
}

inline void q2_k(const uint8_t* __restrict b, float* __restrict y) {
  const float d = load_half(b + 80);
  const float dmin = load_half(b + 82);
  for (int r = 0; r < 16; ++r) {
    const int shift = 2 * (r / 2 % 4);
    const uint8_t* q = b + 16 + 32 * (r / 8) + 16 * (r & 1);
    const float scale = d * static_cast<float>(b[r] & 15);
    const float minimum = dmin * static_cast<float>(b[r] >> 4);
    for (int l = 0; l < 16; ++l)
      y[16 * r + l] = scale * static_cast<float>(q[l] >> shift & 3) - minimum;
  }
}

}  // namespace t2v::weights::ggml
