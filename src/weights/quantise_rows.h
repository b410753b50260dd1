// Weights to int8 by rows: rotate -> scale -> round, with the error that this makes. The one place
// of this arithmetic for weights on the CPU (specs: int8, sections 2 and 3).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace t2v::weights {

// W R = values * row_scale, R the regular Hadamard matrix in groups of columns.
struct Int8Rows {
  at::Tensor values;     // int8 [N, K], contiguous
  at::Tensor row_scale;  // fp32 [N]
};

// Of one row: sums over its elements, w the weight, e = w minus what its int8 stands for.
struct RowError {
  double signal = 0;    // sum of w^2
  double noise = 0;     // sum of e^2
  double overlap = 0;   // sum of w * e
  float max_error = 0;  // the largest |e|, the rotation taken back
};

// The widest of `asked`, 64, 16 and 4, not above `asked`, that divides the width; 0 when none does.
int64_t rotation_group(int64_t asked, int64_t width) noexcept;

// weight: fp32, bf16 or fp16 [N, K] on the CPU, contiguous; rotation: 0, or a power of 4 up to 4096
// that divides K. scale = max(max|z|, 1e-5) / 127 of the rotated row z, q = z / scale rounded half
// to even, within -127..127; all in fp32. A row that holds NaN or infinity gets a scale that is not
// finite and zeros. errors: N of them, or none. Rows run in parallel; results do not depend on the
// number of threads.
Int8Rows quantise_rows(const at::Tensor& weight, int64_t rotation, std::span<RowError> errors = {});

// The first row whose scale is not finite; -1 when all are.
int64_t first_broken_row(const at::Tensor& row_scale);

// The first row (of the first dimension) that holds NaN or infinity; -1 when there is none. Any
// float type, contiguous, on the CPU.
int64_t first_row_not_finite(const at::Tensor& rows);

}  // namespace t2v::weights
