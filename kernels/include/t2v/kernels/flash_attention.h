// Scaled dot-product attention without a score matrix in memory: softmax(scale*q*k^T + bias) * v.
// 16-bit inputs, fp32 scores, softmax and sums; the probabilities are rounded to the input type
// before the second product.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

// Rows of one query block and of one key block: the grid of block lists (lut, counts).
constexpr int kQueryBlock = 128;
constexpr int kKeyBlock = 64;

// Warps per block and stages of the K/V ring. kAuto goes by the shared memory of a multiprocessor.
// Head size 64 has one variant, kFourWarpsTwoStages; naming another one is refused. All variants
// give the same bits.
enum class FlashVariant : std::uint8_t {
  kAuto,
  kFourWarpsOneStage,    // 64 KiB: two blocks per SM from 130 KiB on (sm_80). Not for
                         // compute capability 12 and later: cudaErrorNotSupported
  kFourWarpsTwoStages,   // 96 KiB: two blocks per SM from 194 KiB on (sm_90, sm_100)
  kEightWarpsTwoStages,  // 96 KiB: one block per SM (sm_86, sm_89, sm_120)
};

enum class ListScope : std::uint8_t { kSharedByHeads, kPerHead };

// Which key blocks each query block visits. Off while lut is null: all of them, in order.
struct KeyBlockList {
  // [heads or 1][query blocks][max_blocks]: the first `counts` entries of a row are valid,
  // distinct, ascending numbers of key blocks. A full list gives the bits of no list.
  const std::int32_t* lut = nullptr;
  const std::int32_t* counts = nullptr;  // [heads or 1][query blocks], 1 .. max_blocks
  std::int64_t max_blocks = 0;
  ListScope scope = ListScope::kSharedByHeads;
};

// Where each key block lies among the rows of k, v and key_bias: a ring of slots, or pages. Off
// while first_row is null: key block b starts at row 64*b.
struct KeyBlockTable {
  const std::int32_t* first_row = nullptr;  // [num_blocks]
  const std::int32_t* num_rows = nullptr;   // [num_blocks], 1 .. 64
  std::int64_t num_blocks = 0;
};

// Strides are in elements. Row l of head n of q is at n*q_head_stride + l*q_row_stride; channels
// are dense. Base addresses are multiples of 16 bytes, strides multiples of 8 elements, else
// cudaErrorMisalignedAddress. Everything else that is not allowed: cudaErrorInvalidValue.
// The tables of lists and blocks are in device memory: the caller answers for their contents.
struct FlashAttentionArgs {
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  void* out = nullptr;              // row l of head n at n*out_head_stride + l*out_row_stride
  const float* key_bias = nullptr;  // [num_keys] or null: added to the scaled scores
  float* lse = nullptr;             // [num_heads, num_queries] or null: natural log of the sum
  std::int64_t q_head_stride = 0;
  std::int64_t q_row_stride = 0;
  std::int64_t k_head_stride = 0;
  std::int64_t k_row_stride = 0;
  std::int64_t v_head_stride = 0;
  std::int64_t v_row_stride = 0;
  std::int64_t out_head_stride = 0;
  std::int64_t out_row_stride = 0;
  std::int64_t num_heads = 0;      // at least 1
  std::int64_t num_queries = 0;    // 0: nothing to do
  std::int64_t num_keys = 0;       // rows of k and v, at least 1
  std::int64_t head_size = 0;      // 64 or 128
  float scale = 0.0F;              // positive, finite; usually 1/sqrt(head_size)
  DType dtype = DType::kBFloat16;  // of q, k, v and out: kBFloat16 or kFloat16
  FlashVariant variant = FlashVariant::kAuto;
  KeyBlockList list;
  KeyBlockTable table;
};

// out must not overlap an input. A query whose keys all have a bias of -inf gets zeros. Sums have a
// fixed order: same input, same variant, same bits.
cudaError_t flash_attention(const FlashAttentionArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
