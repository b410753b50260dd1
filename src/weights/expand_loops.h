// The inner loops of expand_into(): rows of quantised numbers to fp32, fp32 to 16 bits. Plain
// pointers; compiled for several instruction sets. Arithmetic as in expand_reference(), bit by bit.
#pragma once

#include <cstdint>

#include "weights/tensor_entry.h"

namespace t2v::weights::loops {

// y[0, blocks x elements) from whole blocks.
void expand_blocks(Encoding encoding, const uint8_t* blocks, int64_t num_blocks, float* y);
// y = x * scale.
void expand_int8(const int8_t* x, float scale, float* y, int64_t n);
// y = table[x] * scale; table: the 256 values of an 8-bit float.
void expand_table(const uint8_t* x, const float* table, float scale, float* y, int64_t n);
// y <- y R in place, R the regular Hadamard matrix of `group` (a power of 4); n whole groups.
void rotate(float* y, int64_t n, int64_t group);
// Round to nearest even; NaN stays NaN.
void narrow_bf16(const float* x, uint16_t* y, int64_t n);
void narrow_half(const float* x, uint16_t* y, int64_t n);

}  // namespace t2v::weights::loops
