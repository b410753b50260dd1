#include "ops/int8_gemm.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/cpu_clones.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define T2V_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#endif

namespace t2v::ops::gemm {
namespace {

constexpr int64_t kQuad = 4;  // neighbouring k that one instruction adds up
constexpr int64_t kQuadBytes = kPanelColumns * kQuad;
constexpr int64_t kDepth = 1536;  // of a panel that stays in the second cache level
constexpr int32_t kOffset = 128;  // instructions take one operand without a sign: w + 128

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// A piece of a product: sums[rows][64] += x [rows, 4 * quads] (rows `stride` apart) * panel. The
// first one starts from what takes the weights' offset back.
struct Piece {
  const int8_t* x;
  int64_t stride;
  int64_t quads;
  const uint8_t* panel;
  int32_t* sums;
  const int32_t* row_sums;
  bool first;
};

T2V_CLONES void portable_rows(const Piece& piece, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    int32_t* sums = piece.sums + row * kPanelColumns;
    if (piece.first) std::fill_n(sums, kPanelColumns, -kOffset * piece.row_sums[row]);
    const int8_t* x = piece.x + row * piece.stride;
    for (int64_t q = 0; q < piece.quads; ++q) {
      const uint8_t* w = piece.panel + q * kQuadBytes;
      for (int64_t j = 0; j < kPanelColumns; ++j)
        for (int64_t i = 0; i < kQuad; ++i)
          sums[j] += static_cast<int32_t>(w[j * kQuad + i]) * x[q * kQuad + i];
    }
  }
}

#ifdef T2V_VNNI
constexpr int kVectors = 4;   // of 16 columns
constexpr int kTileRows = 6;  // 24 sums, 4 weights and a broadcast fill the registers

template <int kRows>
T2V_VNNI void vnni_tile(const Piece& piece, int64_t row) {
  __m512i sum[kRows][kVectors];
  int32_t* const out = piece.sums + row * kPanelColumns;
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = piece.first ? _mm512_set1_epi32(-kOffset * piece.row_sums[row + r])
                              : _mm512_loadu_si512(out + r * kPanelColumns + v * 16);
  }
  const int8_t* const x = piece.x + row * piece.stride;
  const uint8_t* w = piece.panel;
  for (int64_t q = 0; q < piece.quads; ++q, w += kQuadBytes) {
    __m512i weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) weights[v] = _mm512_loadu_si512(w + v * 64);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int32_t four;
      std::memcpy(&four, x + r * piece.stride + q * kQuad, sizeof four);
      const __m512i rows = _mm512_set1_epi32(four);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], weights[v], rows);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      _mm512_storeu_si512(out + r * kPanelColumns + v * 16, sum[r][v]);
  }
}

void vnni_rows(const Piece& piece, int64_t begin, int64_t end) {
  int64_t row = begin;
  for (; row + kTileRows <= end; row += kTileRows) vnni_tile<kTileRows>(piece, row);
  for (; row + 2 <= end; row += 2) vnni_tile<2>(piece, row);
  if (row < end) vnni_tile<1>(piece, row);
}

bool has_vnni() noexcept {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512vnni");
  return has;
}
#else
void vnni_rows(const Piece& piece, int64_t begin, int64_t end) { portable_rows(piece, begin, end); }
bool has_vnni() noexcept { return false; }
#endif

// e^x within 2 ulp; 0 and infinity out of range come out as the smallest and largest powers.
T2V_INLINE float exponential(float x) {
  constexpr float kRounder = 12582912.0F;
  const float t = std::min(std::max(x * 1.44269504F, -126.0F), 126.0F);
  const float whole = (t + kRounder) - kRounder;
  const float f = (t - whole) * 0.69314718F;
  const float series =
      1.0F +
      f * (1.0F + f * (0.5F + f * (0.16666667F +
                                   f * (0.041666667F + f * (0.0083333333F + f * 0.0013888889F)))));
  return std::bit_cast<float>((static_cast<int32_t>(whole) + 127) << 23) * series;
}

// y / 2 * (1 + tanh u) = y / (1 + e^(-2u)).
T2V_INLINE float gelu_tanh(float y) {
  const float u = 0.79788456F * (y + 0.044715F * y * y * y);
  return y / (1.0F + exponential(-2.0F * u));
}

T2V_INLINE uint16_t to_bf16(float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  return (bits & 0x7fffffffU) > 0x7f800000U ? uint16_t{0x7fc0} : static_cast<uint16_t>(rounded);
}

}  // namespace

int64_t packed_bytes(int64_t n, int64_t k) noexcept {
  return round_up(n, kPanelColumns) * round_up(k, kQuad);
}

void pack_panel(const int8_t* w, int64_t n, int64_t k, int64_t panel, uint8_t* packed) {
  const int64_t quads = round_up(k, kQuad) / kQuad;
  uint8_t* const out = packed + panel * quads * kQuadBytes;
  std::memset(out, kOffset, static_cast<size_t>(quads * kQuadBytes));
  const int64_t first = panel * kPanelColumns;
  for (int64_t j = 0; j < std::min(kPanelColumns, n - first); ++j) {
    const int8_t* row = w + (first + j) * k;
    for (int64_t i = 0; i < k; ++i)
      out[i / kQuad * kQuadBytes + j * kQuad + i % kQuad] =
          static_cast<uint8_t>(static_cast<int32_t>(row[i]) + kOffset);
  }
}

void panel_sums(const RowPiece& rows, const uint8_t* panel, int32_t* sums, Loop loop) {
  const bool vnni = loop == Loop::kBest && has_vnni();
  for (int64_t begin = 0; begin < rows.k; begin += kDepth) {
    const Piece piece{.x = rows.x + begin,
                      .stride = rows.k,
                      .quads = std::min(kDepth, rows.k - begin) / kQuad,
                      .panel = panel + begin * kPanelColumns,
                      .sums = sums,
                      .row_sums = rows.row_sums,
                      .first = begin == 0};
    if (vnni) {
      vnni_rows(piece, 0, rows.rows);
    } else {
      portable_rows(piece, 0, rows.rows);
    }
  }
}

T2V_CLONES void finish_row(const Epilogue& epilogue, const int32_t* __restrict sums,
                           float row_scale, int64_t columns, void* __restrict out) {
  float y[kPanelColumns];
  const float* __restrict scale = epilogue.column_scale;
  for (int64_t j = 0; j < columns; ++j) y[j] = static_cast<float>(sums[j]) * (row_scale * scale[j]);
  if (const float* __restrict bias = epilogue.bias)
    for (int64_t j = 0; j < columns; ++j) y[j] += bias[j];
  if (epilogue.gelu)
    for (int64_t j = 0; j < columns; ++j) y[j] = gelu_tanh(y[j]);
  if (epilogue.add) {
    auto* __restrict x = static_cast<float*>(out);
    if (const float* __restrict gate = epilogue.gate) {
      for (int64_t j = 0; j < columns; ++j) x[j] += y[j] * gate[j];
    } else {
      for (int64_t j = 0; j < columns; ++j) x[j] += y[j];
    }
  } else if (epilogue.bf16) {
    auto* __restrict x = static_cast<uint16_t*>(out);
    for (int64_t j = 0; j < columns; ++j) x[j] = to_bf16(y[j]);
  } else {
    std::memcpy(out, y, static_cast<size_t>(columns) * sizeof(float));
  }
}

const char* loop_name() noexcept { return has_vnni() ? "avx512-vnni" : "portable"; }

}  // namespace t2v::ops::gemm
