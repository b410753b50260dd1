#include "ops/conv3d_loops.h"

#include <array>
#include <utility>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,avx2")

namespace t2v::ops::direct::loops {
namespace {

#define T2V_INLINE inline __attribute__((always_inline))

T2V_INLINE __mmask16 first_lanes(int64_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1U << n) - 1U);
}

struct Fp32 {
  static constexpr int64_t kBytes = 4;
  static T2V_INLINE __m512 multiply_add(__m512 sum, __m512 a, __m512 b) {
    return _mm512_fmadd_ps(a, b, sum);
  }
  static T2V_INLINE __m512 load(const char* from, __mmask16 mask) {
    return _mm512_maskz_loadu_ps(mask, from);
  }
  static T2V_INLINE void store(char* to, __mmask16 mask, __m512 v) {
    _mm512_mask_storeu_ps(to, mask, v);
  }
};

struct Bf16 {
  static constexpr int64_t kBytes = 2;
  static T2V_INLINE __m512 multiply_add(__m512 sum, __m512 a, __m512 b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static T2V_INLINE __m512 load(const char* from, __mmask16 mask) {
    const __m256i bits = _mm256_maskz_loadu_epi16(mask, from);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static T2V_INLINE void store(char* to, __mmask16 mask, __m512 v) {
    _mm256_mask_storeu_epi16(to, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
  }
};

template <typename Math, int kPixels, int kVectors>
void multiply(const Product& product) {
  __m512 sums[kPixels][kVectors];
#pragma GCC unroll 24
  for (int p = 0; p < kPixels; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[p][v] = _mm512_setzero_ps();
  const char* weights = product.weights;
  const int64_t stride = product.pixel_bytes;
  for (int64_t run = 0; run < product.num_runs; ++run) {
    // Pixels in threes: one pointer serves three by x86's addressing modes.
    const char* a[(kPixels + 2) / 3];
#pragma GCC unroll 8
    for (int i = 0; i < (kPixels + 2) / 3; ++i) a[i] = product.runs[run] + 3 * i * stride;
    for (int64_t step = 0; step < product.steps; ++step) {
      __m512 b[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) b[v] = _mm512_load_ps(weights + 64 * v);
      weights += 64 * kVectors;
#pragma GCC unroll 24
      for (int p = 0; p < kPixels; ++p) {
        const __m512 x =
            _mm512_set1_ps(*reinterpret_cast<const float*>(a[p / 3] + p % 3 * stride + 4 * step));
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sums[p][v] = Math::multiply_add(sums[p][v], x, b[v]);
      }
    }
  }
#pragma GCC unroll 24
  for (int p = 0; p < kPixels; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      _mm512_storeu_ps(product.sums + (p * kVectors + v) * 16, sums[p][v]);
}

template <typename Math>
void transform(const Transform& t) {
  for (int64_t i = 0; i < t.count; i += 16) {
    const __mmask16 mask = first_lanes(t.count - i);
    const int64_t at = i * Math::kBytes;
    const __m512 f0 = Math::load(t.from[0] + at, mask), f1 = Math::load(t.from[1] + at, mask);
    const __m512 f2 = Math::load(t.from[2] + at, mask), f3 = Math::load(t.from[3] + at, mask);
    Math::store(t.to[0] + at, mask, _mm512_sub_ps(f0, f2));
    Math::store(t.to[1] + at, mask, _mm512_add_ps(f1, f2));
    Math::store(t.to[2] + at, mask, _mm512_sub_ps(f2, f1));
    Math::store(t.to[3] + at, mask, _mm512_sub_ps(f1, f3));
  }
}

template <typename Math>
void finish(const Finish& f) {
  for (int64_t c = 0; c < f.channels; c += 16) {
    const __mmask16 mask = first_lanes(f.channels - c);
    const __m512 bias = _mm512_loadu_ps(f.bias + c);
    for (int64_t p = 0; p < f.pixels; ++p) {
      __m512 v = _mm512_add_ps(_mm512_loadu_ps(f.sums + p * f.sums_stride + c), bias);
      if (f.residual)
        v = _mm512_add_ps(
            v, Math::load(f.residual + (p * f.residual_stride + c) * Math::kBytes, mask));
      Math::store(f.out + (p * f.out_stride + c) * Math::kBytes, mask, v);
    }
  }
}

// For CPUs without bf16 instructions: fp32 convolutions write fp32 only.
void no_finish(const Finish&) {}

template <typename Math, int kVectors, int... kPixels>
void fill(ProductFn* table, std::integer_sequence<int, kPixels...>) {
  ((table[kPixels + 1] = &multiply<Math, kPixels + 1, kVectors>), ...);
}

template <typename Math>
Functions make(bool has_bf16) {
  Functions functions{};
  fill<Math, 2>(functions.wide, std::make_integer_sequence<int, kMaxPixelsWide>());
  fill<Math, 1>(functions.narrow, std::make_integer_sequence<int, kMaxPixelsNarrow>());
  functions.transform = &transform<Math>;
  functions.finish_fp32 = &finish<Fp32>;
  functions.finish_bf16 = has_bf16 ? &finish<Bf16> : &no_finish;
  return functions;
}

void combine_vectors(float* sums, int64_t part_stride, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    float* at = sums + i;
    const __m512 m0 = _mm512_loadu_ps(at), m1 = _mm512_loadu_ps(at + part_stride);
    const __m512 m2 = _mm512_loadu_ps(at + 2 * part_stride),
                 m3 = _mm512_loadu_ps(at + 3 * part_stride);
    _mm512_storeu_ps(at, _mm512_add_ps(_mm512_add_ps(m0, m1), m2));
    _mm512_storeu_ps(at + part_stride, _mm512_sub_ps(_mm512_sub_ps(m1, m2), m3));
  }
}

}  // namespace
}  // namespace t2v::ops::direct::loops

#pragma GCC pop_options

namespace t2v::ops::direct::loops {
namespace {

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

}  // namespace

const Functions* fp32_functions() {
  static const bool has = has_avx512();
  if (!has) return nullptr;
  static const Functions functions = make<Fp32>(has_avx512_bf16());
  return &functions;
}

const Functions* bf16_functions() {
  static const bool has = has_avx512_bf16();
  if (!has) return nullptr;
  static const Functions functions = make<Bf16>(true);
  return &functions;
}

void combine(float* sums, int64_t part_stride, int64_t count) {
  combine_vectors(sums, part_stride, count);
}

}  // namespace t2v::ops::direct::loops

#else

namespace t2v::ops::direct::loops {

const Functions* fp32_functions() { return nullptr; }
const Functions* bf16_functions() { return nullptr; }
void combine(float*, int64_t, int64_t) {}

}  // namespace t2v::ops::direct::loops

#endif
