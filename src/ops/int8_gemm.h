// int8 matrix product of the CPU on raw pointers: packed weights, exact int32 sums piece by piece,
// and what becomes of them before they leave the cache.
#pragma once

#include <cstdint>

namespace t2v::ops::gemm {

// Columns of a panel: sums of a row piece and a panel stay in the second cache level.
constexpr int64_t kPanelColumns = 64;
constexpr int64_t kPieceRows = 192;

// Packed form of int8 W [n, k]: panels of 64 output columns; in each, for every four k, 64 x 4
// bytes w + 128. Filled up with 128 (w = 0).
int64_t packed_bytes(int64_t n, int64_t k) noexcept;
void pack_panel(const int8_t* w, int64_t n, int64_t k, int64_t panel, uint8_t* packed);

// int8 x [rows, k], rows <= kPieceRows, k a multiple of 4 up to 32768: more could overflow.
struct RowPiece {
  const int8_t* x = nullptr;
  int64_t rows = 0;
  int64_t k = 0;
  const int32_t* row_sums = nullptr;  // [rows]: the sum of each row
};

// The portable one serves processors without AVX512-VNNI; both give the same sums.
enum class Loop { kBest, kPortable };

// sums[rows][64] = x w^T for one panel, exact.
void panel_sums(const RowPiece& rows, const uint8_t* panel, int32_t* sums, Loop loop = Loop::kBest);

// What one row of sums becomes: y = s_x * s_w[j] * sum + bias[j], GELU-tanh of it, then
// stored, or added to fp32 `out` with gate[j].
struct Epilogue {
  const float* column_scale = nullptr;  // [columns]
  const float* bias = nullptr;          // [columns], or null
  const float* gate = nullptr;          // with `add`: [columns], or null for 1
  bool gelu = false;
  bool add = false;
  bool bf16 = false;  // out is bf16, rounded to nearest even; else fp32
};
void finish_row(const Epilogue& epilogue, const int32_t* sums, float row_scale, int64_t columns,
                void* out);

// Which loop makes the sums: "avx512-vnni" or "portable".
const char* loop_name() noexcept;

}  // namespace t2v::ops::gemm
