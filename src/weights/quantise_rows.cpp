#include "weights/quantise_rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "weights/expand_loops.h"
#include "weights/quantise_loops.h"

namespace t2v::weights {
namespace {

constexpr int64_t kTaskElements = 65536;  // at least, for one thread
constexpr float kSmallestMaximum = 1e-5F;

// Columns that go through all steps while they are in the first cache level: whole groups.
constexpr int64_t kChunk = 4096;

// Of one thread: a row in fp32, and the error of a chunk.
struct Scratch {
  explicit Scratch(int64_t columns)
      : row(static_cast<size_t>(columns)), error(static_cast<size_t>(std::min(columns, kChunk))) {}
  std::vector<float> row;
  std::vector<float> error;
};

// `element` counts through the whole weight.
void widen(const at::Tensor& weight, int64_t element, float* out, int64_t count) {
  const auto* bytes = static_cast<const std::byte*>(weight.const_data_ptr()) +
                      element * static_cast<int64_t>(weight.element_size());
  if (weight.scalar_type() == at::kBFloat16) {
    loops::widen_bf16(reinterpret_cast<const uint16_t*>(bytes), out, count);
  } else if (weight.scalar_type() == at::kHalf) {
    loops::widen_half(reinterpret_cast<const uint16_t*>(bytes), out, count);
  } else {
    std::memcpy(out, bytes, static_cast<size_t>(count) * sizeof(float));
  }
}

// The rotated row in fp32; returns its largest |z|, which is not finite when one of them is not.
float load_row(const at::Tensor& weight, int64_t row, int64_t rotation, std::vector<float>& out) {
  const auto columns = static_cast<int64_t>(out.size());
  float most = 0;
  for (int64_t at = 0; at < columns; at += kChunk) {
    float* z = out.data() + at;
    const int64_t count = std::min(kChunk, columns - at);
    widen(weight, row * columns + at, z, count);
    if (rotation > 1) loops::rotate(z, count, rotation);
    const float largest = loops::largest(z, count);
    if (!std::isfinite(largest)) return largest;
    most = std::max(most, largest);
  }
  return most;
}

RowError error_of_row(Scratch& scratch, int64_t rotation, const int8_t* q, float scale) {
  const auto columns = static_cast<int64_t>(scratch.row.size());
  RowError sum;
  for (int64_t at = 0; at < columns; at += kChunk) {
    float* e = scratch.error.data();
    const int64_t count = std::min(kChunk, columns - at);
    const loops::ErrorSums part = loops::error_of(scratch.row.data() + at, q + at, scale, e, count);
    if (rotation > 1) loops::rotate(e, count, rotation);
    sum.signal += part.signal;
    sum.noise += part.noise;
    sum.overlap += part.overlap;
    sum.max_error = std::max(sum.max_error, loops::largest(e, count));
  }
  return sum;
}

}  // namespace

int64_t rotation_group(int64_t asked, int64_t width) noexcept {
  for (const int64_t group : {asked, int64_t{64}, int64_t{16}, int64_t{4}}) {
    if (group > 1 && group <= asked && width % group == 0) return group;
  }
  return 0;
}

Int8Rows quantise_rows(const at::Tensor& weight, int64_t rotation, std::span<RowError> errors) {
  const at::ScalarType dtype = weight.scalar_type();
  T2V_ASSERT(weight.dim() == 2 && weight.is_contiguous() && weight.is_cpu() &&
             (dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf));
  const int64_t rows = weight.size(0);
  const int64_t columns = weight.size(1);
  T2V_ASSERT(rotation == 0 || rotation_group(rotation, columns) == rotation);
  T2V_ASSERT(errors.empty() || static_cast<int64_t>(errors.size()) == rows);
  Int8Rows out{at::empty({rows, columns}, at::kChar), at::empty({rows}, at::kFloat)};
  auto* values = out.values.mutable_data_ptr<int8_t>();
  auto* scales = out.row_scale.mutable_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, columns));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    Scratch scratch(columns);
    for (int64_t row = begin; row < end; ++row) {
      int8_t* q = values + row * columns;
      const float most = load_row(weight, row, rotation, scratch.row);
      if (!std::isfinite(most)) {
        std::memset(q, 0, static_cast<size_t>(columns));
        scales[row] = most;
        continue;
      }
      scales[row] = std::max(most, kSmallestMaximum) / 127.F;
      loops::quantise(scratch.row.data(), scales[row], q, columns);
      if (!errors.empty())
        errors[static_cast<size_t>(row)] = error_of_row(scratch, rotation, q, scales[row]);
    }
  });
  return out;
}

int64_t first_broken_row(const at::Tensor& row_scale) {
  const auto* scales = row_scale.const_data_ptr<float>();
  const auto* end = scales + row_scale.numel();
  const auto* found = std::find_if(scales, end, [](float scale) { return !std::isfinite(scale); });
  return found == end ? -1 : found - scales;
}

int64_t first_row_not_finite(const at::Tensor& rows) {
  const at::ScalarType dtype = rows.scalar_type();
  T2V_ASSERT(rows.is_contiguous() && rows.is_cpu() &&
             (dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf));
  const int64_t count = rows.dim() == 0 ? 1 : rows.size(0);
  const int64_t width = count == 0 ? 0 : rows.numel() / count;
  const void* memory = rows.const_data_ptr();
  const auto is_finite = [&](int64_t begin, int64_t n) {
    if (dtype == at::kFloat)
      return std::isfinite(loops::largest(static_cast<const float*>(memory) + begin, n));
    const uint16_t exponent = dtype == at::kBFloat16 ? 0x7f80 : 0x7c00;
    return loops::largest_bits(static_cast<const uint16_t*>(memory) + begin, n) < exponent;
  };
  if (is_finite(0, rows.numel())) return -1;
  for (int64_t row = 0; row < count; ++row)
    if (!is_finite(row * width, width)) return row;
  return -1;
}

}  // namespace t2v::weights
