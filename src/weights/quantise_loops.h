// The inner loops of quantise_rows(): one row of fp32. Plain pointers; compiled for several
// instruction sets, with the same result on all of them.
#pragma once

#include <cstdint>

namespace t2v::weights::loops {

void widen_bf16(const uint16_t* x, float* y, int64_t n);
void widen_half(const uint16_t* x, float* y, int64_t n);
// The largest |x|; not finite when one of them is not.
float largest(const float* x, int64_t n);
// The same of 16-bit floats, as bits without the sign.
uint16_t largest_bits(const uint16_t* x, int64_t n);
// q = x / scale, rounded half to even, within -127..127.
void quantise(const float* x, float scale, int8_t* q, int64_t n);

struct ErrorSums {
  double signal = 0, noise = 0, overlap = 0;
};
// e = x - q * scale, and sums of x^2, e^2 and x * e.
ErrorSums error_of(const float* x, const int8_t* q, float scale, float* e, int64_t n);

}  // namespace t2v::weights::loops
