// Loops over one row on its way to int8 and back, compiled for several instruction sets and chosen
// at start-up.
#pragma once

#include <cstdint>

namespace t2v::ops::row {

// x <- x R in place, R the regular Hadamard matrix of `group` (0, or a power of 4 up to 256); n is
// whole groups. The bits of one radix-4 stage after the other in fp32.
void rotate_groups(float* x, int64_t n, int64_t group);
// max(max|x|, 1e-5) / 127; not finite where x holds NaN or infinity.
float int8_scale(const float* x, int64_t n);
// y = x / scale, rounded half to even; within -127..127 when the scale is that of x.
void quantise(const float* x, float scale, int8_t* y, int64_t n);
// y = x * scale
void expand_int8(const int8_t* x, float scale, float* y, int64_t n);
int32_t sum_int8(const int8_t* x, int64_t n);

}  // namespace t2v::ops::row
