// What the flash attention kernel is launched with: the caller's arguments and what the launcher
// derived from them; and the compile-time shape of a variant.
#pragma once

#include "t2v/kernels/flash_attention.h"
#include "t2v/kernels/launch_shape.h"

namespace t2v::kernels {

struct FlashParams {
  FlashAttentionArgs args;
  float scale_log2 = 0.0F;  // scale * log2(e): scores to exponents of 2
  float inverse_scale = 0.0F;
  int num_query_blocks = 0;
  int num_key_blocks = 0;
};

// One variant. Each warp owns kRowTiles * 16 query rows; shared memory holds the query tile, then
// kStages key tiles, then kStages value tiles.
template <typename T_, int kHeadSize_, int kWarps_, int kStages_>
struct FlashShape {
  using T = T_;
  static constexpr int kHeadSize = kHeadSize_;
  static constexpr int kWarps = kWarps_;
  static constexpr int kStages = kStages_;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kWarpRows = kQueryBlock / kWarps;
  static constexpr int kRowTiles = kWarpRows / 16;
  static constexpr int kScoreTiles = kKeyBlock / 8;  // n of m16n8k16 in q * k^T
  static constexpr int kOutTiles = kHeadSize / 8;    // n of m16n8k16 in p * v
  static constexpr int kRowBytes = kHeadSize * 2;
  static constexpr int kRowChunks = kRowBytes / kAccessBytes;
  static constexpr int kQueryBytes = kQueryBlock * kRowBytes;
  static constexpr int kKeyBytes = kKeyBlock * kRowBytes;
  static constexpr int kSharedBytes = kQueryBytes + 2 * kStages * kKeyBytes;
  // With 16 rows per warp the registers hold the query fragments; with 32 they are read per tile.
  static constexpr bool kHoldQueries = kRowTiles == 1;
  // Two blocks share a multiprocessor where a thread may have 255 registers (4 warps each).
  static constexpr int kBlocksPerMultiprocessor = kWarps == 4 ? 2 : 1;
  static_assert(kRowBytes % 128 == 0 && kQueryBlock % (16 * kWarps) == 0);
};

}  // namespace t2v::kernels
