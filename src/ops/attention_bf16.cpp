#include "ops/attention_bf16.h"

// GCC 12 takes the undefined lanes inside its own intrinsics for our mistake (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace t2v::ops::avx512bf16 {

#if defined(__x86_64__)

bool is_supported() noexcept {
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool is_preferred() noexcept {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kAmxBf16 = 1U << 22;
  const bool amx = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kAmxBf16);
  return is_supported() && !amx;
}

namespace {

// Blocking: kRows query rows share each key vector in registers; a query tile of kTile rows shares
// each key block of kKeys keys in the second cache level.
constexpr int64_t kLanes = 16;
constexpr int64_t kRows = 6;
constexpr int64_t kTile = 96;
constexpr int64_t kKeys = 256;
constexpr int64_t kMaxVectors = 4;  // 6 x 4 accumulators + 4 operands fit in 32 registers
constexpr float kLog2E = 1.44269504F;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

struct Free {
  void operator()(void* p) const { std::free(p); }
};
template <typename T>
using Buffer = std::unique_ptr<T[], Free>;

template <typename T>
Buffer<T> make_buffer(int64_t count) {
  const auto bytes = static_cast<size_t>(round_up(count * static_cast<int64_t>(sizeof(T)), 64));
  void* p = std::aligned_alloc(64, std::max<size_t>(bytes, 64));
  if (!p) throw std::bad_alloc();
  return Buffer<T>(static_cast<T*>(p));
}

// Keys and values of one head in the order in which the pair product reads them.
struct PackedHead {
  uint32_t* k;  // [D/2][S'] pairs of channels, one key per lane
  uint32_t* v;  // [S'/2][D'] pairs of keys, one channel per lane
};

struct Sizes {
  explicit Sizes(const AttentionArgs& a)
      : pairs(a.head_size / 2),
        keys(round_up(a.num_keys, kLanes)),
        channels(round_up(a.head_size, kLanes)) {}
  int64_t pairs;     // D/2
  int64_t keys;      // S', a multiple of 16
  int64_t channels;  // D', a multiple of 16
  [[nodiscard]] int64_t k_words() const { return pairs * keys; }
  [[nodiscard]] int64_t v_words() const { return keys / 2 * channels; }
};

void pack_head(const AttentionArgs& a, const Sizes& s, int64_t head, const PackedHead& to) {
  const uint16_t* k = a.k + head * a.k_head_stride;
  const uint16_t* v = a.v + head * a.v_head_stride;
  for (int64_t first = 0; first < s.keys; first += kLanes) {
    for (int64_t p = 0; p < s.pairs; ++p) {
      uint32_t* row = to.k + p * s.keys + first;
      for (int64_t i = 0; i < kLanes; ++i) {
        row[i] = 0;
        if (first + i < a.num_keys)
          std::memcpy(row + i, k + (first + i) * a.k_row_stride + 2 * p, 4);
      }
    }
  }
  for (int64_t j = 0; j < s.keys / 2; ++j) {
    uint32_t* row = to.v + j * s.channels;
    const bool has_low = 2 * j < a.num_keys;
    const bool has_high = 2 * j + 1 < a.num_keys;
    const uint16_t* low = v + 2 * j * a.v_row_stride;
    for (int64_t d = 0; d < s.channels; ++d) {
      const uint32_t lo = has_low && d < a.head_size ? low[d] : 0U;
      const uint32_t hi = has_high && d < a.head_size ? low[a.v_row_stride + d] : 0U;
      row[d] = lo | (hi << 16);
    }
  }
}

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")

// c[r][0..16V) (+)= sum over p of a[r][p] * b[p][0..16V), pairs of bf16, fp32 sums.
struct Product {
  const uint32_t* a;
  int64_t a_stride;
  const uint32_t* b;
  int64_t b_stride;
  int64_t depth;  // pairs
  float* c;
  int64_t c_stride;
  bool accumulate;
};

template <int V>
void multiply(const Product& m) {
  __m512 sum[kRows][V];
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t j = 0; j < V; ++j)
      sum[r][j] =
          m.accumulate ? _mm512_load_ps(m.c + r * m.c_stride + j * kLanes) : _mm512_setzero_ps();
  for (int64_t p = 0; p < m.depth; ++p) {
    __m512i b[V];
    for (int64_t j = 0; j < V; ++j) b[j] = _mm512_load_si512(m.b + p * m.b_stride + j * kLanes);
#pragma GCC unroll 6
    for (int64_t r = 0; r < kRows; ++r) {
      const __m512i a = _mm512_set1_epi32(static_cast<int>(m.a[r * m.a_stride + p]));
      for (int64_t j = 0; j < V; ++j)
        sum[r][j] = _mm512_dpbf16_ps(sum[r][j], reinterpret_cast<__m512bh>(a),
                                     reinterpret_cast<__m512bh>(b[j]));
    }
  }
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t j = 0; j < V; ++j) _mm512_store_ps(m.c + r * m.c_stride + j * kLanes, sum[r][j]);
}

// All columns: `columns` is a multiple of 16.
void multiply_columns(Product m, int64_t columns) {
  while (columns > 0) {
    const int64_t vectors = std::min(columns / kLanes, kMaxVectors);
    switch (vectors) {
      case 4:
        multiply<4>(m);
        break;
      case 3:
        multiply<3>(m);
        break;
      case 2:
        multiply<2>(m);
        break;
      default:
        multiply<1>(m);
        break;
    }
    m.b += vectors * kLanes;
    m.c += vectors * kLanes;
    columns -= vectors * kLanes;
  }
}

// 2^x for x <= 0, relative error below 2e-6; 0 for very negative x.
inline __m512 exp2_of(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-150.0F));
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, whole);
  __m512 y = _mm512_set1_ps(1.3333558e-3F);  // ln2^n / n!, n = 5..0
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(9.6181291e-3F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(5.5504109e-2F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.4022651e-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(6.9314718e-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0F));
  return _mm512_scalef_ps(y, whole);
}

// One row of a score block -> probabilities (bf16, in place of the pairs that the second product
// reads), with the running maximum and sum of flash attention. Returns the factor for what was
// summed before.
float softmax_row(const float* scores, const float* bias, int64_t n, float scale, float& maximum,
                  float& sum, uint16_t* probabilities) {
  const __m512 factor = _mm512_set1_ps(scale);
  __m512 top = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < n; i += kLanes)
    top = _mm512_max_ps(
        top, _mm512_fmadd_ps(_mm512_load_ps(scores + i), factor, _mm512_loadu_ps(bias + i)));
  const float before = maximum;
  maximum = std::max(before, _mm512_reduce_max_ps(top));
  const __m512 shift = _mm512_set1_ps(-maximum);
  __m512 total = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m512 x = _mm512_fmadd_ps(_mm512_load_ps(scores + i), factor, _mm512_loadu_ps(bias + i));
    const __m512 p = exp2_of(_mm512_add_ps(x, shift));
    total = _mm512_add_ps(total, p);
    _mm256_store_si256(reinterpret_cast<__m256i*>(probabilities + i),
                       reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(p)));
  }
  const float rescale =
      _mm_cvtss_f32(_mm512_castps512_ps128(exp2_of(_mm512_set1_ps(before - maximum))));
  sum = sum * rescale + _mm512_reduce_add_ps(total);
  return rescale;
}

void scale_row(float* row, int64_t n, float factor) {
  const __m512 f = _mm512_set1_ps(factor);
  for (int64_t i = 0; i < n; i += kLanes)
    _mm512_store_ps(row + i, _mm512_mul_ps(_mm512_load_ps(row + i), f));
}

void store_row(const float* row, int64_t n, float factor, uint16_t* out) {
  const __m512 f = _mm512_set1_ps(factor);
  for (int64_t i = 0; i < n; i += kLanes) {
    const auto lanes = static_cast<__mmask16>(n - i >= kLanes ? 0xffff : (1U << (n - i)) - 1U);
    const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_load_ps(row + i), f));
    _mm256_mask_storeu_epi16(out + i, lanes, reinterpret_cast<__m256i>(narrow));
  }
}

#pragma GCC pop_options

// Scratch of one thread.
struct Tile {
  explicit Tile(const Sizes& s)
      : q(make_buffer<uint32_t>(kTile * s.pairs)),
        scores(make_buffer<float>(kTile * kKeys)),
        probabilities(make_buffer<uint16_t>(kTile * kKeys)),
        sums(make_buffer<float>(kTile * s.channels)) {}
  Buffer<uint32_t> q;
  Buffer<float> scores;
  Buffer<uint16_t> probabilities;
  Buffer<float> sums;
  float maximum[kTile];
  float total[kTile];
};

void load_queries(const AttentionArgs& a, const Sizes& s, int64_t head, int64_t first, int64_t rows,
                  Tile& tile) {
  const uint16_t* q = a.q + head * a.q_head_stride + first * a.q_row_stride;
  const int64_t padded = round_up(rows, kRows);
  for (int64_t r = 0; r < padded; ++r) {
    uint32_t* to = tile.q.get() + r * s.pairs;
    if (r < rows) {
      std::memcpy(to, q + r * a.q_row_stride, static_cast<size_t>(a.head_size) * 2);
    } else {
      std::fill_n(to, s.pairs, 0U);
    }
    tile.maximum[r] = -1e30F;
    tile.total[r] = 0;
  }
  std::fill_n(tile.sums.get(), padded * s.channels, 0.0F);
}

void run_tile(const AttentionArgs& a, const Sizes& s, const PackedHead& packed, const float* bias,
              int64_t head, int64_t first, Tile& tile) {
  const int64_t rows = std::min(kTile, a.num_queries - first);
  load_queries(a, s, head, first, rows, tile);
  // Base-2 exponentials: log2(e) goes into the scale (and into the bias, by the caller).
  const float scale = kLog2E / std::sqrt(static_cast<float>(a.head_size));
  for (int64_t key = 0; key < s.keys; key += kKeys) {
    const int64_t keys = std::min(kKeys, s.keys - key);
    for (int64_t r = 0; r < rows; r += kRows) {
      float* scores = tile.scores.get() + r * kKeys;
      multiply_columns({tile.q.get() + r * s.pairs, s.pairs, packed.k + key, s.keys, s.pairs,
                        scores, kKeys, false},
                       keys);
      uint16_t* probabilities = tile.probabilities.get() + r * kKeys;
      for (int64_t i = r; i < r + kRows; ++i) {
        const float rescale =
            softmax_row(tile.scores.get() + i * kKeys, bias + key, keys, scale, tile.maximum[i],
                        tile.total[i], tile.probabilities.get() + i * kKeys);
        if (rescale != 1.0F) scale_row(tile.sums.get() + i * s.channels, s.channels, rescale);
      }
      multiply_columns({reinterpret_cast<const uint32_t*>(probabilities), kKeys / 2,
                        packed.v + key / 2 * s.channels, s.channels, keys / 2,
                        tile.sums.get() + r * s.channels, s.channels, true},
                       s.channels);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    store_row(tile.sums.get() + r * s.channels, a.head_size, 1.0F / tile.total[r],
              a.out + ((first + r) * a.num_heads + head) * a.head_size);
    if (a.lse)
      a.lse[head * a.num_queries + first + r] = tile.maximum[r] / kLog2E + std::log(tile.total[r]);
  }
}

}  // namespace

void attention(const AttentionArgs& a) {
  const Sizes s(a);
  const auto bias = make_buffer<float>(s.keys);
  for (int64_t i = 0; i < s.keys; ++i) {
    const float given = a.key_bias && i < a.num_keys ? a.key_bias[i] * kLog2E : 0.0F;
    bias[static_cast<size_t>(i)] = i < a.num_keys ? given : -std::numeric_limits<float>::infinity();
  }
  const int64_t words = s.k_words() + s.v_words();
  const auto packed = make_buffer<uint32_t>(a.num_heads * words);
  const auto head_at = [&](int64_t head) {
    uint32_t* base = packed.get() + head * words;
    return PackedHead{base, base + s.k_words()};
  };
  at::parallel_for(0, a.num_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) pack_head(a, s, head, head_at(head));
  });
  const int64_t tiles = (a.num_queries + kTile - 1) / kTile;
  at::parallel_for(0, a.num_heads * tiles, 1, [&](int64_t begin, int64_t end) {
    Tile tile(s);
    for (int64_t i = begin; i < end; ++i)
      run_tile(a, s, head_at(i / tiles), bias.get(), i / tiles, i % tiles * kTile, tile);
  });
}

#else

bool is_supported() noexcept { return false; }
bool is_preferred() noexcept { return false; }
void attention(const AttentionArgs&) {}

#endif

}  // namespace t2v::ops::avx512bf16
