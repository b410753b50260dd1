// Flash attention over int8 keys and values: each block of 64 comes as bytes, is expanded to 16-bit
// tiles in shared memory while the next one's bytes are under way, and goes through the products of
// the 16-bit kernel.
#include "device/dtype.cuh"
#include "device/flash_launch.cuh"
#include "device/flash_loop.cuh"
#include "t2v/kernels/flash_attention_int8_kv.h"

namespace t2v::kernels {
namespace {

struct Int8KvParams : FlashParams {
  const __half* k_scale = nullptr;
  const __half* v_scale = nullptr;
  std::int64_t k_scale_head_stride = 0;
  std::int64_t v_scale_head_stride = 0;
  const float* other_lse = nullptr;
};

// Each thread has its own chunks of 16 bytes of a block: it asks for them, and expands them.
template <typename Shape>
struct Bytes {
  static constexpr int kRowChunks = Shape::kHeadSize / kAccessBytes;
  static constexpr int kRowScales = Shape::kHeadSize / kKvScaleGroup;
  static constexpr int kItems = kKeyBlock * kRowChunks / Shape::kThreads;
  static constexpr int kSize = kKeyBlock * Shape::kHeadSize;  // of a block of keys, or of values
  static_assert(kItems * Shape::kThreads == kKeyBlock * kRowChunks);

  // One operand: bytes of a head, scales of a head.
  struct Source {
    const std::int8_t* bytes;
    int stride;
    const __half* scales;
  };

  __device__ static int chunk_of(int item) {
    return item * Shape::kThreads + static_cast<int>(threadIdx.x);
  }

  // Rows that do not exist become zeros.
  __device__ static void copy(SharedAddress target, const Source& from, const KeyRows& rows) {
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int chunk = chunk_of(item);
      const int row = chunk / kRowChunks;
      copy_async(target + chunk * kAccessBytes,
                 from.bytes + (std::int64_t{rows.first} + row) * from.stride +
                     chunk % kRowChunks * kAccessBytes,
                 row < rows.count);
    }
  }

  __device__ static void read_scales(float (&scales)[kItems], const Source& from,
                                     const KeyRows& rows) {
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int row = chunk_of(item) / kRowChunks;
      const int group = chunk_of(item) % kRowChunks * kAccessBytes / kKvScaleGroup;
      scales[item] =
          row < rows.count
              ? to_float(from.scales[(std::int64_t{rows.first} + row) * kRowScales + group])
              : 0.0F;
    }
  }

  // The int8 at place i of a word. With its sign bit turned it is one of 0 .. 255, which as the low
  // bits of 2^23 is exact.
  __device__ static float value_at(std::uint32_t word, int i) {
    const std::uint32_t bits = 0x4B000000U | (((word ^ 0x80808080U) >> (8 * i)) & 0xffU);
    return __int_as_float(static_cast<int>(bits)) - 8388736.0F;
  }

  // This thread's bytes to 16-bit values in the swizzled tile, rounded once.
  __device__ static void expand(unsigned char* tile, const unsigned char* bytes,
                                const float (&scales)[kItems]) {
    using T = typename Shape::T;
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int chunk = chunk_of(item);
      const uint4 from = *reinterpret_cast<const uint4*>(bytes + chunk * kAccessBytes);
      const std::uint32_t words[4] = {from.x, from.y, from.z, from.w};
      std::uint32_t to[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const std::uint32_t word = words[i / 2];
        const int first = i % 2 * 2;
        to[i] = pack(value_at(word, first) * scales[item], value_at(word, first + 1) * scales[item],
                     T{});
      }
      const int row = chunk / kRowChunks;
      const int column = chunk % kRowChunks * 2;  // 16 bytes of int8 are two chunks of the tile
      *reinterpret_cast<uint4*>(tile + tile_offset(row, column, Shape::kRowBytes)) =
          make_uint4(to[0], to[1], to[2], to[3]);
      *reinterpret_cast<uint4*>(tile + tile_offset(row, column + 1, Shape::kRowBytes)) =
          make_uint4(to[4], to[5], to[6], to[7]);
    }
  }
};

template <typename Shape>
__device__ typename Bytes<Shape>::Source keys_of(const Int8KvParams& params, int head) {
  const FlashAttentionArgs& args = params.args;
  return {static_cast<const std::int8_t*>(args.k) + computed_anew(head) * args.k_head_stride,
          static_cast<int>(args.k_row_stride),
          params.k_scale + computed_anew(head) * params.k_scale_head_stride};
}
template <typename Shape>
__device__ typename Bytes<Shape>::Source values_of(const Int8KvParams& params, int head) {
  const FlashAttentionArgs& args = params.args;
  return {static_cast<const std::int8_t*>(args.v) + computed_anew(head) * args.v_head_stride,
          static_cast<int>(args.v_row_stride),
          params.v_scale + computed_anew(head) * params.v_scale_head_stride};
}

// Joins these normalised rows with those over other keys that lie in the output.
template <typename Shape>
__device__ void merge_rows(OutFragments<Shape>& out, const OnlineSoftmax<Shape>& softmax,
                           const Int8KvParams& params, int head, int first_row) {
  using T = typename Shape::T;
  const FlashAttentionArgs& args = params.args;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int num_queries = static_cast<int>(args.num_queries);
  const T* const others = static_cast<const T*>(args.out) + head * args.out_head_stride;
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + m * 16 + place_in_c(lane, 2 * half).row;
      if (row >= num_queries) continue;
      const float other = params.other_lse[std::int64_t{head} * num_queries + row];
      const float own = softmax.max[m][half] * kLn2 + logf(softmax.sum[m][half]);
      const float largest = fmaxf(own, other);
      const float own_part = expf(own - largest);
      const float other_part = expf(other - largest);
      const float sum = own_part + other_part;
      const T* const line = others + row * args.out_row_stride;
#pragma unroll
      for (int n = 0; n < Shape::kOutTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& value = out[m][n][2 * half + i];
          const float before = to_float(line[n * 8 + place_in_c(lane, 2 * half + i).column]);
          value = (value * own_part + before * other_part) / sum;
        }
      }
    }
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    flash_attention_int8_kv_kernel(const __grid_constant__ Int8KvParams params) {
  using Block = Bytes<Shape>;
  const FlashAttentionArgs& args = params.args;
  const int head = static_cast<int>(blockIdx.x) / params.num_query_blocks;
  const int first_query = static_cast<int>(blockIdx.x) % params.num_query_blocks * kQueryBlock;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int first_row = first_query + warp * Shape::kWarpRows;

  const Ring<Shape> ring{shared_address(dynamic_shared())};
  unsigned char* const tiles = dynamic_shared() + Shape::kQueryBytes;
  unsigned char* const bytes = dynamic_shared() + Shape::kSharedBytes;
  const SharedAddress key_bytes = shared_address(bytes);
  const SharedAddress value_bytes = key_bytes + Block::kSize;
  const DenseBlocks blocks(params, head, 0);
  float key_scales[Block::kItems];
  float value_scales[Block::kItems];
  const auto ask = [&](int j) {
    const KeyRows rows = blocks.at(j);
    const typename Block::Source keys = keys_of<Shape>(params, head);
    Block::copy(key_bytes, keys, rows);
    Block::read_scales(key_scales, keys, rows);
    const typename Block::Source values = values_of<Shape>(params, head);
    Block::copy(value_bytes, values, rows);
    Block::read_scales(value_scales, values, rows);
  };

  copy_queries<Shape>(ring.queries, args, head, first_query);
  ask(0);
  commit_copies();
  wait_copies<0>();
  __syncthreads();
  const SharedAddress queries = lane_address<Shape::kKeyRowBytes>(
      ring.queries + warp * Shape::kWarpRows * Shape::kKeyRowBytes, quarter_rows_first(lane));
  typename Scores<Shape>::Held held;
  Scores<Shape>::hold(held, queries);
  OutFragments<Shape> out = {};
  OnlineSoftmax<Shape> softmax;
  softmax.reset();
  const ScoreScale<Shape> scale(params, head, first_row);

  const int num_blocks = blocks.count();
  for (int j = 0; j < num_blocks; ++j) {
    wait_copies<0>();  // this thread's bytes, which nobody else reads
    __syncthreads();   // all warps have left the tiles of the block before
    Block::expand(tiles, bytes, key_scales);
    Block::expand(tiles + Shape::kKeyBytes, bytes + Block::kSize, value_scales);
    __syncthreads();
    if (j + 1 < num_blocks) ask(j + 1);
    commit_copies();

    typename Scores<Shape>::Fragments scores;
    Scores<Shape>::multiply(
        scores, held, queries,
        lane_address<Shape::kKeyRowBytes>(ring.keys(0), quarter_columns_first(lane)));
    const KeyRows rows = blocks.at(j);
    if (rows.count < kKeyBlock) edit_scores<Shape>(scores, params, rows);
    float factors[Shape::kRowTiles][2];
    Weights<Shape> weights;
    if (softmax.update(scores, weights, factors, scale)) scale_rows<Shape>(out, factors);
    add_weighted_values<Shape>(
        out, weights, lane_address<Shape::kRowBytes>(ring.values(0), quarter_rows_first(lane)));
  }
  normalise_rows<Shape>(out, softmax, args, head, first_row);
  if (params.other_lse) merge_rows<Shape>(out, softmax, params, head, first_row);
  write_rows<Shape>(out, args, head, first_row);
}

template <typename T, int kHeadSize>
cudaError_t launch(const Int8KvParams& params, cudaStream_t stream) {
  using Shape = FlashShape<T, kHeadSize, 8, 1>;
  return launch_flash(flash_attention_int8_kv_kernel<Shape>, params, Shape::kThreads,
                      Shape::kSharedBytes + 2 * Bytes<Shape>::kSize, stream);
}

template <typename T>
cudaError_t launch_size(const Int8KvParams& params, cudaStream_t stream) {
  return params.args.head_size == 64 ? launch<T, 64>(params, stream)
                                     : launch<T, 128>(params, stream);
}

bool valid(const FlashAttentionInt8KvArgs& args) noexcept {
  const FlashAttentionArgs& attention = args.attention;
  return valid_types(attention) && valid_sizes(attention) && !attention.key_bias &&
         has_no_lists(attention) && attention.variant == FlashVariant::kAuto && args.k_scale &&
         args.v_scale && !(attention.lse && args.other_lse) && args.k_scale_head_stride >= 0 &&
         args.k_scale_head_stride <= kMaxHead && args.v_scale_head_stride >= 0 &&
         args.v_scale_head_stride <= kMaxHead;
}

}  // namespace

cudaError_t flash_attention_int8_kv(const FlashAttentionInt8KvArgs& args,
                                    cudaStream_t stream) noexcept {
  const FlashAttentionArgs& attention = args.attention;
  if (!valid(args)) return cudaErrorInvalidValue;
  if (attention.num_queries == 0) return cudaSuccess;
  const int bytes = element_bytes(attention.dtype);
  const Operand operands[] = {
      {attention.q, attention.q_head_stride, attention.q_row_stride, bytes},
      {attention.k, attention.k_head_stride, attention.k_row_stride, 1},
      {attention.v, attention.v_head_stride, attention.v_row_stride, 1},
      {attention.out, attention.out_head_stride, attention.out_row_stride, bytes}};
  const cudaError_t checked = check_operands(operands, attention.head_size);
  if (checked != cudaSuccess) return checked;
  if (address_of(args.k_scale) % 2 != 0 || address_of(args.v_scale) % 2 != 0 ||
      address_of(attention.lse) % 4 != 0 || address_of(args.other_lse) % 4 != 0)
    return cudaErrorMisalignedAddress;
  Int8KvParams params;
  derive(params, attention);
  params.k_scale = static_cast<const __half*>(args.k_scale);
  params.v_scale = static_cast<const __half*>(args.v_scale);
  params.k_scale_head_stride = args.k_scale_head_stride;
  params.v_scale_head_stride = args.v_scale_head_stride;
  params.other_lse = args.other_lse;
  return attention.dtype == DType::kBFloat16 ? launch_size<__nv_bfloat16>(params, stream)
                                             : launch_size<__half>(params, stream);
}

}  // namespace t2v::kernels
