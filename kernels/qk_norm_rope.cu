// RMSNorm and rotary embedding of packed q and k, heads split: three blocks per token (q, k, v).
#include "device/launch.cuh"
#include "device/reduce.cuh"
#include "device/vec.cuh"
#include "t2v/kernels/qk_norm_rope.h"
#include "t2v/kernels/rope_index.h"

namespace t2v::kernels {
namespace {

constexpr std::int64_t kMaxHeadSize = 1024;  // its cosines and sines take 4 KiB of shared memory
constexpr int kPair = 2;

// The two channels of a pair stay in one thread, so this is the narrowest walk.
using PairWalk = Walk<kPair, true>;

struct Rotation {
  float cos;
  float sin;
};

// The rotation of one pair of this token.
__device__ Rotation rotation_of(const QkNormRopeArgs& args, const GridPosition& at,
                                const AxisPairs& pairs, int pair) {
  const PairPlace place = place_of_pair(pair, pairs);
  if (place.axis == RopeAxis::kFrame) {
    const std::int64_t entry = std::int64_t{at.frame} * pairs.frame + place.index;
    return {args.frame_table.cos[entry], args.frame_table.sin[entry]};
  }
  if (place.axis == RopeAxis::kRow) {
    const std::int64_t entry = std::int64_t{at.row} * pairs.row + place.index;
    return {args.row_table.cos[entry], args.row_table.sin[entry]};
  }
  const std::int64_t entry = std::int64_t{at.column} * pairs.column + place.index;
  return {args.column_table.cos[entry], args.column_table.sin[entry]};
}

// (x0, x1) -> (x0 cos - x1 sin, x0 sin + x1 cos) for each pair of the chunk.
template <int kWidth, typename T>
__device__ void rotate(const float (&values)[kWidth], const Rotation* rotations,
                       Chunk<T, kWidth>& out) {
#pragma unroll
  for (int i = 0; i < kWidth; i += 2) {
    const Rotation r = rotations[i / 2];
    from_float(values[i] * r.cos - values[i + 1] * r.sin, out.at[i]);
    from_float(values[i] * r.sin + values[i + 1] * r.cos, out.at[i + 1]);
  }
}

// Block 3*i + p serves part p (q, k, v) of row i.
template <typename T, typename Walk>
__global__ void __launch_bounds__(kMaxThreads)
    qk_norm_rope_kernel(const __grid_constant__ QkNormRopeArgs args) {
  constexpr int kWidth = Walk::kWidth;
  __shared__ Rotation rotations[kMaxHeadSize / 2];
  __shared__ float square_parts[kWarpSize];

  const int row = static_cast<int>(blockIdx.x / 3);
  const int token = static_cast<int>(args.first_token) + row;
  const int part = static_cast<int>(blockIdx.x % 3);
  const int head_size = static_cast<int>(args.head_size);
  const int columns = static_cast<int>(args.num_heads) * head_size;
  const std::int64_t num_tokens = args.frames * args.height * args.width;
  const typename Walk::template Row<T> x(
      static_cast<const T*>(args.qkv) + row * args.qkv_row_stride + std::int64_t{part} * columns,
      columns);
  T* const out = static_cast<T*>(part == 0 ? args.q : part == 1 ? args.k : args.v);

  if (part == 2) {
#pragma unroll Walk::kUnroll
    for (int item = 0; item < Walk::kItems; ++item) {
      const int column = Walk::column(item);
      if (column >= columns) continue;
      Walk::store(out + head_offset(column, token, num_tokens, head_size), x[item]);
    }
    return;
  }

  const GridPosition at =
      grid_position(token, static_cast<int>(args.height), static_cast<int>(args.width));
  const AxisPairs pairs = axis_pairs(head_size);
  for (int pair = static_cast<int>(threadIdx.x); pair < head_size / 2;
       pair += static_cast<int>(blockDim.x)) {
    rotations[pair] = rotation_of(args, at, pairs, pair);
  }
  float squares = 0.0F;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    if (Walk::column(item) >= columns) continue;
    const Chunk<T, kWidth> chunk = x[item];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) squares += to_float(chunk.at[i]) * to_float(chunk.at[i]);
  }
  // The barrier inside also publishes `rotations`.
  const float mean_square = block_sum(squares, square_parts) / static_cast<float>(columns);
  const float scale_of_row = rsqrtf(mean_square + args.eps);
  const float* const norm = part == 0 ? args.norm_q : args.norm_k;
#pragma unroll Walk::kUnroll
  for (int item = 0; item < Walk::kItems; ++item) {
    const int column = Walk::column(item);
    if (column >= columns) continue;
    const Chunk<T, kWidth> chunk = x[item];
    const Chunk<float, kWidth> weight = Walk::load(norm + column);
    float values[kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      values[i] = to_float(chunk.at[i]) * scale_of_row * weight.at[i];
    }
    Chunk<T, kWidth> result;
    rotate(values, rotations + column % head_size / 2, result);
    Walk::store(out + head_offset(column, token, num_tokens, head_size), result);
  }
}

bool valid_table(const RopeAxisTable& table, int pairs) noexcept {
  return pairs == 0 || (table.cos && table.sin);
}

// Each bound keeps the next product inside 64 bits.
bool valid_sizes(const QkNormRopeArgs& args) noexcept {
  if (args.frames < 0 || args.height < 0 || args.width < 0 || args.frames > kMaxBlocks ||
      args.height > kMaxBlocks || args.width > kMaxBlocks) {
    return false;
  }
  const std::int64_t plane = args.height * args.width;
  if (plane > kMaxBlocks || plane * args.frames > kMaxBlocks / 3) return false;
  const std::int64_t num_tokens = plane * args.frames;
  if (args.first_token < 0 || args.first_token > num_tokens || args.rows < 0 ||
      args.rows > num_tokens - args.first_token) {
    return false;
  }
  if (args.head_size < 2 || args.head_size > kMaxHeadSize || args.head_size % 2 != 0) return false;
  return args.num_heads >= 1 && args.num_heads <= kMaxColumns / args.head_size;
}

bool valid_pointers(const QkNormRopeArgs& args) noexcept {
  const AxisPairs pairs = axis_pairs(static_cast<int>(args.head_size));
  return args.norm_q && args.norm_k && args.q && args.k && args.v &&
         valid_table(args.frame_table, pairs.frame) && valid_table(args.row_table, pairs.row) &&
         valid_table(args.column_table, pairs.column);
}

}  // namespace

cudaError_t qk_norm_rope(const QkNormRopeArgs& args, cudaStream_t stream) noexcept {
  if (!valid_sizes(args)) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  const int bytes = element_bytes(args.dtype);
  const std::int64_t columns = args.num_heads * args.head_size;
  // Parts and heads start at multiples of head_size: a row of each operand is one head.
  const RowOperand operands[] = {{address_of(args.qkv), args.qkv_row_stride, bytes},
                                 {address_of(args.q), args.head_size, bytes},
                                 {address_of(args.k), args.head_size, bytes},
                                 {address_of(args.v), args.head_size, bytes},
                                 {address_of(args.norm_q), args.head_size, 4},
                                 {address_of(args.norm_k), args.head_size, 4}};
  if (!valid_matrix(operands[0], 3 * columns) || !valid_pointers(args)) {
    return cudaErrorInvalidValue;
  }
  for (const RowOperand& operand : operands) {
    if (!element_aligned(operand)) return cudaErrorMisalignedAddress;
  }

  const int wide = full_width(bytes);
  const bool vectorised = choose_width(operands, 6, args.head_size, wide, kPair) == wide;
  return with_type(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto kernel =
        vectorised ? qk_norm_rope_kernel<T, WideWalk<T>> : qk_norm_rope_kernel<T, PairWalk>;
    return launch_rows(kernel, 3 * args.rows, columns, stream, args);
  });
}

}  // namespace t2v::kernels
