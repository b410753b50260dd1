// A row in registers becomes bytes with one fp32 scale: int8, or e4m3.
#pragma once

#include <cuda_fp8.h>

#include "device/reduce.cuh"
#include "device/rotate.cuh"

namespace t2v::kernels {

// A row of up to 16384 columns, 16 values per thread; past the row's end they are 0.
using RowValues = float[GroupWalk::kItems][GroupWalk::kWidth];

constexpr float kSmallestMaximum = 1e-5F;

// How a byte stands for a number: the largest one, and the rounding of a level to it.
struct Int8Levels {
  using Byte = std::int8_t;
  static constexpr float kLargest = 127.0F;
  // Ties to even: the sum's last place is 1, so its low byte is the level.
  __device__ static Byte round(float level) {
    constexpr float kOneIsLastPlace = 12582912.0F;  // 1.5 * 2^23
    const float sum = fminf(fmaxf(level, -kLargest), kLargest) + kOneIsLastPlace;
    return static_cast<Byte>(__float_as_int(sum) & 0xff);
  }
};

struct E4m3Levels {
  using Byte = std::uint8_t;
  static constexpr float kLargest = 448.0F;
  __device__ static Byte round(float level) {
    return __nv_cvt_float_to_fp8(level, __NV_SATFINITE, __NV_E4M3);
  }
};

// level = value / scale, correctly rounded where the level can matter: a quotient from the
// correctly rounded reciprocal, and one step that takes its remainder in.
class Divisor {
 public:
  __device__ explicit Divisor(float scale) : scale_(scale), inverse_(1.0F / scale) {}
  [[nodiscard]] __device__ float divide(float value) const {
    const float near = value * inverse_;
    return fmaf(fmaf(-near, scale_, value), inverse_, near);
  }

 private:
  float scale_;
  float inverse_;
};

// Fills x, which is 0 before; returns this thread's share of the sum of the row.
template <typename In>
__device__ inline float load_row(const In* row, int columns, RowValues& x) {
  float sum = 0.0F;
#pragma unroll
  for (int item = 0; item < GroupWalk::kItems; ++item) {
    const int column = GroupWalk::column(item);
    if (column >= columns) continue;
    const Chunk<In, GroupWalk::kWidth> chunk = load_chunk<GroupWalk::kWidth>(row + column);
#pragma unroll
    for (int i = 0; i < GroupWalk::kWidth; ++i) {
      x[item][i] = to_float(chunk.at[i]);
      sum += x[item][i];
    }
  }
  return sum;
}

// Of a launch whose rows of floats become bytes, or bytes floats: every operand allows accesses of
// the group walk's width, scales are aligned.
template <int kCount>
cudaError_t check_byte_rows(const RowOperand (&operands)[kCount], const float* row_scale,
                            std::int64_t columns) noexcept {
  if (!row_scale) return cudaErrorInvalidValue;
  if (address_of(row_scale) % sizeof(float) != 0) return cudaErrorMisalignedAddress;
  for (const RowOperand& operand : operands) {
    if (!allows_width(operand, columns, GroupWalk::kWidth)) return cudaErrorMisalignedAddress;
  }
  return cudaSuccess;
}

// Rotates the row, writes its scale (NaN or infinity where a value is) and its bytes. All threads
// of the block take part; `maxima` is shared memory of kWarpSize floats, used for nothing else.
template <typename Levels>
__device__ inline void store_byte_row(RowValues& x, int columns, int group, float* maxima,
                                      float* row_scale, typename Levels::Byte* out) {
  constexpr int kWidth = GroupWalk::kWidth;
  float largest = kSmallestMaximum;
#pragma unroll
  for (int item = 0; item < GroupWalk::kItems; ++item) {
    rotate(x[item], group);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) largest = larger(largest, fabsf(x[item][i]));
  }
  const float scale = block_max(largest, maxima) / Levels::kLargest;
  if (threadIdx.x == 0) *row_scale = scale;
  const Divisor divisor(scale);
#pragma unroll
  for (int item = 0; item < GroupWalk::kItems; ++item) {
    const int column = GroupWalk::column(item);
    if (column >= columns) continue;
    Chunk<typename Levels::Byte, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) result.at[i] = Levels::round(divisor.divide(x[item][i]));
    store_chunk(out + column, result);
  }
}

}  // namespace t2v::kernels
