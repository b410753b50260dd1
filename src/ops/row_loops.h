// Loops over one row of fp32 numbers or 16-bit floats, compiled for several instruction sets and
// chosen at start-up. Rows are short enough (a few ten KiB) to stay in the first cache level.
#pragma once

#include <cstdint>

namespace t2v::ops::row {

void widen_bf16(const uint16_t* x, float* y, int64_t n);
// Rounds to nearest even; NaN stays NaN.
void narrow_bf16(const float* x, uint16_t* y, int64_t n);

double sum(const float* x, int64_t n);
// sum of (x - centre)^2
double sum_squared_distance(const float* x, float centre, int64_t n);

// y = (x - centre) * factor * a + b
void normalise_affine(const float* x, float centre, float factor, const float* a, const float* b,
                      float* y, int64_t n);
// y = x * factor * a
void scale_by(const float* x, float factor, const float* a, float* y, int64_t n);
// Rotates interleaved pairs: y[i] = x[i]*c[i] + x[i^1]*s[i]; n is even, c and s hold one value per
// channel (s negative at even channels).
void rotate_pairs(const float* x, const float* c, const float* s, float* y, int64_t n);
// x += branch * gate; gate null = 1
void add_gated_fp32(float* x, const float* branch, const float* gate, int64_t n);
void add_gated_bf16(float* x, const uint16_t* branch, const float* gate, int64_t n);

}  // namespace t2v::ops::row
