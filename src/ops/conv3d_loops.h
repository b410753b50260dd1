// Innermost loops of the direct convolution, written with AVX-512 intrinsics. Raw pointers only.
#pragma once

#include <cstdint>

namespace t2v::ops::direct::loops {

// sums[p][o] = sum over runs r and steps s of run[r][p * pixel_bytes + 4 s] * weights[r][s][o]:
// 4 bytes are one fp32 number or a pair of bf16 numbers, whose two products are added.
struct Product {
  const char* const* runs;
  int64_t num_runs;
  int64_t steps;  // of each run
  int64_t pixel_bytes;
  const char* weights;  // [run][step][16 or 32][4 bytes], 64-byte aligned
  float* sums;          // [pixels][16 or 32]
};

// from, to: four rows of `count` numbers; to = {f0-f2, f1+f2, f2-f1, f1-f3}, rounded once.
struct Transform {
  const char* from[4] = {};
  char* to[4] = {};
  int64_t count = 0;
};

// out[p][c] = sums[p][c] + bias[c] (+ residual[p][c])
struct Finish {
  const float* sums = nullptr;
  int64_t sums_stride = 0;
  const float* bias = nullptr;  // padded to 32
  int64_t channels = 0;         // 1..32
  int64_t pixels = 0;
  char* out = nullptr;
  int64_t out_stride = 0;  // elements
  const char* residual = nullptr;
  int64_t residual_stride = 0;
};

constexpr int64_t kMaxPixelsWide = 12;  // x 2 vectors = 24 registers of sums
constexpr int64_t kMaxPixelsNarrow = 24;

using ProductFn = void (*)(const Product&);
struct Functions {
  ProductFn wide[kMaxPixelsWide + 1];      // by number of pixels, 32 outputs
  ProductFn narrow[kMaxPixelsNarrow + 1];  // 16 outputs
  void (*transform)(const Transform&);
  void (*finish_fp32)(const Finish&);
  void (*finish_bf16)(const Finish&);
};

// nullptr where the CPU (or the compiler) lacks the instructions.
const Functions* fp32_functions();
const Functions* bf16_functions();

// Four arrays of products m -> the first two become m0+m1+m2 and m1-m2-m3. count is a multiple
// of 16.
void combine(float* sums, int64_t part_stride, int64_t count);

}  // namespace t2v::ops::direct::loops
