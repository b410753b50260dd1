// What the flash attention kernel is launched with: the caller's arguments and what the launcher
// derived from them; and the compile-time shape of a variant.
#pragma once

#include "t2v/kernels/flash_attention.h"
#include "t2v/kernels/flash_attention_int8.h"
#include "t2v/kernels/launch_shape.h"

namespace t2v::kernels {

struct FlashParams {
  FlashAttentionArgs args;  // of other precisions: what they share with the 16-bit kernel
  float scale_log2 = 0.0F;  // scale * log2(e): scores to exponents of 2
  float inverse_scale = 0.0F;
  int num_query_blocks = 0;
  int num_key_blocks = 0;
};

// q and k in int8.
struct FlashInt8Params : FlashParams {
  const float* q_scale = nullptr;  // with scale and log2(e)
  const float* k_scale = nullptr;
  int num_query_groups = 0;
};

template <typename Key>
struct FlashParamsOf {
  using type = FlashParams;
};
template <>
struct FlashParamsOf<std::int8_t> {
  using type = FlashInt8Params;
};

// One variant. Each warp owns kRowTiles * 16 query rows; shared memory holds the query tile, then
// kStages key tiles, then kStages value tiles. Queries and keys are of type Key_, values, weights
// and output of type T_.
template <typename T_, int kHeadSize_, int kWarps_, int kStages_, typename Key_ = T_>
struct FlashShape {
  using T = T_;
  using Key = Key_;
  using Params = typename FlashParamsOf<Key>::type;
  static constexpr int kHeadSize = kHeadSize_;
  static constexpr int kWarps = kWarps_;
  static constexpr int kStages = kStages_;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kWarpRows = kQueryBlock / kWarps;
  static constexpr int kRowTiles = kWarpRows / 16;
  static constexpr int kScoreTiles = kKeyBlock / 8;  // n of the product q * k^T
  static constexpr int kOutTiles = kHeadSize / 8;    // n of the product p * v
  static constexpr int kRowBytes = kHeadSize * 2;
  static constexpr int kRowChunks = kRowBytes / kAccessBytes;
  // Rows of queries and keys: half as long in int8, but never below the 128 bytes of the swizzle.
  static constexpr int kKeyRowData = kHeadSize * static_cast<int>(sizeof(Key));
  static constexpr int kKeyRowBytes = kKeyRowData < 128 ? 128 : kKeyRowData;
  static constexpr int kKeyRowChunks = kKeyRowData / kAccessBytes;
  static constexpr int kQueryBytes = kQueryBlock * kKeyRowBytes;
  static constexpr int kKeyBytes = kKeyBlock * kKeyRowBytes;
  static constexpr int kValueBytes = kKeyBlock * kRowBytes;
  static constexpr int kSharedBytes = kQueryBytes + kStages * (kKeyBytes + kValueBytes);
  // With 16 rows per warp the registers hold the query fragments; with 32 they are read per tile.
  static constexpr bool kHoldQueries = kRowTiles == 1;
  // The output leaves through the query tile: each warp through its own rows, unless they are
  // longer than those of the queries.
  static constexpr bool kOutIsLonger = kRowBytes > kKeyRowBytes;
  // Two blocks share a multiprocessor where a thread may have 255 registers (4 warps each).
  static constexpr int kBlocksPerMultiprocessor = kWarps == 4 ? 2 : 1;
  static_assert(kRowBytes % 128 == 0 && kQueryBlock % (16 * kWarps) == 0);
  static_assert(kQueryBlock * kRowBytes <= kSharedBytes);
};

}  // namespace t2v::kernels
