// LayerNorm with rotated int8 rows: one block per row, one warp per group of 256 columns.
#include "device/launch.cuh"
#include "device/reduce.cuh"
#include "device/vec.cuh"
#include "t2v/kernels/layer_norm_quantise.h"

namespace t2v::kernels {
namespace {

// A lane holds 8 neighbouring columns: the low 3 bits of the column within its group lie in the
// lane, the others in the lane's number.
constexpr int kWidth = 8;
using GroupWalk = Walk<kWidth, false>;
using Values = float[kWidth];

constexpr float kLargest = 127.0F;
constexpr float kSmallestMaximum = 1e-5F;

__device__ inline float from_lane(float value, int mask) {
  return __shfl_xor_sync(0xffffffffU, value, mask);
}

// One factor 2 * H4 for a digit whose low bit is `low` and whose high bit is `high`: every value
// becomes itself + the one across the low bit + the one across the high bit - the one across both.
// Digit of column bits 0 and 1: all four in this lane.
__device__ inline void rotate_in_lane(Values& x) {
#pragma unroll
  for (int first = 0; first < kWidth; first += 4) {
    const float a = x[first], b = x[first + 1], c = x[first + 2], d = x[first + 3];
    x[first] = (a + b) + (c - d);
    x[first + 1] = (b + a) + (d - c);
    x[first + 2] = (c + d) + (a - b);
    x[first + 3] = (d + c) + (b - a);
  }
}

// Digit of column bits 2 and 3: the high one is bit 0 of the lane's number.
__device__ inline void rotate_half_lane(Values& x) {
#pragma unroll
  for (int i = 0; i < kWidth / 2; ++i) {
    const float a = x[i], b = x[i + 4];
    x[i] = (a + b) + from_lane(a - b, 1);
    x[i + 4] = (b + a) + from_lane(b - a, 1);
  }
}

// Digit of two bits of the lane's number.
__device__ inline void rotate_lanes(Values& x, int low, int high) {
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float across = from_lane(x[i], low);
    x[i] = (x[i] + across) + from_lane(x[i] - across, high);
  }
}

// All lanes of the warp take part.
__device__ inline void rotate(Values& x, int group) {
  if (group == 0) return;
  rotate_in_lane(x);
  rotate_half_lane(x);
  rotate_lanes(x, 2, 4);
  if (group == 256) rotate_lanes(x, 8, 16);
  const float factor = group == 256 ? 0.0625F : 0.125F;  // 1/2 of each H4: exact
#pragma unroll
  for (int i = 0; i < kWidth; ++i) x[i] *= factor;
}

// Mean and 1 / deviation of a row whose values past the end are 0.
struct RowMoments {
  float mean;
  float scale;
};

__device__ RowMoments moments_of(const Values (&x)[GroupWalk::kItems], int columns, float eps) {
  __shared__ float sum_parts[kWarpSize];
  __shared__ float square_parts[kWarpSize];
  float sum = 0.0F;
#pragma unroll
  for (int item = 0; item < GroupWalk::kItems; ++item) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum += x[item][i];
  }
  const float mean = block_sum(sum, sum_parts) / static_cast<float>(columns);
  float squares = 0.0F;
#pragma unroll
  for (int item = 0; item < GroupWalk::kItems; ++item) {
    if (GroupWalk::column(item) >= columns) continue;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) squares += (x[item][i] - mean) * (x[item][i] - mean);
  }
  const float variance = block_sum(squares, square_parts) / static_cast<float>(columns);
  return {mean, rsqrtf(variance + eps)};
}

template <typename In>
__global__ void __launch_bounds__(kMaxThreads)
    layer_norm_quantise_kernel(const __grid_constant__ LayerNormQuantiseArgs args) {
  constexpr int kItems = GroupWalk::kItems;
  __shared__ float maxima[kWarpSize];
  const std::int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns);
  Values x[kItems] = {};
  const In* const source = static_cast<const In*>(args.x) + row * args.x_row_stride;
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int column = GroupWalk::column(item);
    if (column >= columns) continue;
    const Chunk<In, kWidth> chunk = load_chunk<kWidth>(source + column);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) x[item][i] = to_float(chunk.at[i]);
  }
  const RowMoments moments = moments_of(x, columns, args.eps);

  const std::int64_t group = group_of_row(row, args.rows_per_group) * args.group_stride;
  const float scale_offset = args.modulation == Modulation::kScaleShift ? 1.0F : 0.0F;
  float largest = 0.0F;
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int column = GroupWalk::column(item);
    if (column < columns) {
      const Chunk<float, kWidth> a = load_chunk<kWidth>(args.scale + group + column);
      const Chunk<float, kWidth> b = load_chunk<kWidth>(args.shift + group + column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float normal = (x[item][i] - moments.mean) * moments.scale;
        x[item][i] = normal * (scale_offset + a.at[i]) + b.at[i];
      }
    }
    rotate(x[item], args.rotation_group);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) largest = fmaxf(largest, fabsf(x[item][i]));
  }
  largest = fmaxf(block_max(largest, maxima), kSmallestMaximum);
  if (threadIdx.x == 0) args.row_scale[row] = largest / kLargest;
  const float inverse = kLargest / largest;
  std::int8_t* const out = args.out + row * args.out_row_stride;
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int column = GroupWalk::column(item);
    if (column >= columns) continue;
    Chunk<std::int8_t, kWidth> result;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float level = fminf(fmaxf(rintf(x[item][i] * inverse), -kLargest), kLargest);
      result.at[i] = static_cast<std::int8_t>(static_cast<int>(level));
    }
    store_chunk(out + column, result);
  }
}

bool valid_rotation(int group, std::int64_t columns) noexcept {
  return columns % kWidth == 0 &&
         (group == 0 || ((group == 64 || group == 256) && columns % group == 0));
}

}  // namespace

cudaError_t layer_norm_quantise(const LayerNormQuantiseArgs& args, cudaStream_t stream) noexcept {
  if (!valid_shape(args.rows, args.columns) || !valid_rotation(args.rotation_group, args.columns)) {
    return cudaErrorInvalidValue;
  }
  if (args.rows == 0) return cudaSuccess;
  const RowOperand operands[] = {
      {address_of(args.x), args.x_row_stride, element_bytes(args.x_dtype)},
      {address_of(args.out), args.out_row_stride, 1},
      {address_of(args.scale), args.group_stride, 4},
      {address_of(args.shift), args.group_stride, 4}};
  if (!valid_matrix(operands[0], args.columns) || !valid_matrix(operands[1], args.columns) ||
      !args.scale || !args.shift || !args.row_scale ||
      !valid_groups(args.rows_per_group, args.group_stride)) {
    return cudaErrorInvalidValue;
  }
  if (address_of(args.row_scale) % sizeof(float) != 0) return cudaErrorMisalignedAddress;
  for (const RowOperand& operand : operands) {
    if (!allows_width(operand, args.columns, kWidth)) return cudaErrorMisalignedAddress;
  }

  LayerNormQuantiseArgs launched = args;
  if (launched.rows_per_group == 0) launched.rows_per_group = args.rows;
  return with_type(args.x_dtype, [&](auto in) {
    using In = typename decltype(in)::type;
    return launch_rows(layer_norm_quantise_kernel<In>, args.rows, args.columns, stream, launched);
  });
}

}  // namespace t2v::kernels
