// What becomes of the exact sums of an int8 product: scales, bias, GELU; through shared memory, so
// that each row leaves in accesses of 16 bytes; optionally added to the residual stream.
#pragma once

#include "device/int8_tile.cuh"
#include "device/vec.cuh"

namespace t2v::kernels {

// x / 2 * (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2 / pi) * (x + 0.044715 x^3).
__device__ inline float gelu_tanh(float x) {
  const float u = x * fmaf(x * x, 0.0356774081F, 0.7978845608F);
  return __fdividef(x, 1.0F + __expf(-2.0F * u));
}

// Where the warp's part of the product lies.
struct WarpPlace {
  int row;
  int column;
  int lane;

  __device__ explicit WarpPlace(const TileAt& at) {
    constexpr int kWarpsPerRow = Int8Tile::kColumns / Int8Tile::kWarpColumns;
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    lane = static_cast<int>(threadIdx.x) % kWarpSize;
    row = at.row * Int8Tile::kRows + warp / kWarpsPerRow * Int8Tile::kWarpRows;
    column = at.column * Int8Tile::kColumns + warp % kWarpsPerRow * Int8Tile::kWarpColumns;
  }
};

// Scale and bias of this lane's columns; 0 past the last column.
struct ColumnFactors {
  float scale[Int8Tile::kColumnTiles][2];
  float bias[Int8Tile::kColumnTiles][2];

  __device__ ColumnFactors(const Int8LinearArgs& args, const WarpPlace& place) {
#pragma unroll
    for (int n = 0; n < Int8Tile::kColumnTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = place.column + n * 8 + place_in_c(place.lane, i).column;
        const bool exists = column < static_cast<int>(args.columns);
        scale[n][i] = exists ? args.weight_scale[column] : 0.0F;
        bias[n][i] = exists && args.bias ? args.bias[column] : 0.0F;
      }
    }
  }
};

template <typename T>
__device__ inline void stage_pair(unsigned char* to, float left, float right) {
  if constexpr (sizeof(T) == sizeof(float))
    *reinterpret_cast<float2*>(to) = make_float2(left, right);
  else
    *reinterpret_cast<std::uint32_t*>(to) = pack(left, right, T{});
}

// Finishes the warp's sums in groups of kRows rows, as many as its 8 KiB of shared memory hold.
template <Int8Epilogue kEpilogue, typename Out>
class Int8Writer {
 public:
  static constexpr int kRowBytes = Int8Tile::kWarpColumns * static_cast<int>(sizeof(Out));
  static constexpr int kStageBytes = 8192;
  static constexpr int kRows = kStageBytes / kRowBytes;
  static constexpr int kWidth = full_width(sizeof(Out));
  static constexpr int kChunks = kRowBytes / kAccessBytes;
  static_assert(kStageBytes * (Int8Tile::kThreads / kWarpSize) <= Int8Tile::kSharedBytes);

  __device__ Int8Writer(const Int8LinearArgs& args, const WarpPlace& place)
      : args_(args),
        place_(place),
        tile_(dynamic_shared() + threadIdx.x / kWarpSize * kStageBytes) {}

  __device__ void write(const Int8Tile::Sums& sums) const {
    const ColumnFactors factors(args_, place_);
#pragma unroll
    for (int first = 0; first < Int8Tile::kWarpRows; first += kRows) {
#pragma unroll
      for (int m = 0; m < kRows / 16; ++m) {
        stage_rows(sums[first / 16 + m], factors, first, m * 16);
      }
      __syncwarp();
      store_rows(first);
      __syncwarp();
    }
  }

 private:
  // 16 rows of sums, from row `in_tile` of the staged ones on.
  __device__ void stage_rows(const std::int32_t (&sums)[Int8Tile::kColumnTiles][4],
                             const ColumnFactors& factors, int first, int in_tile) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const MatrixPlace at = place_in_c(place_.lane, 2 * half);
      const int staged = in_tile + at.row;
      const int row = place_.row + first + staged;
      const float row_scale = row < static_cast<int>(args_.rows) ? args_.x_scale[row] : 0.0F;
#pragma unroll
      for (int n = 0; n < Int8Tile::kColumnTiles; ++n) {
        float y[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          y[i] = fmaf(static_cast<float>(sums[n][2 * half + i]), row_scale * factors.scale[n][i],
                      factors.bias[n][i]);
          if constexpr (kEpilogue == Int8Epilogue::kGelu) y[i] = gelu_tanh(y[i]);
        }
        const int byte = (n * 8 + at.column) * static_cast<int>(sizeof(Out));
        stage_pair<Out>(
            tile_ + tile_offset(staged, byte / kAccessBytes, kRowBytes) + byte % kAccessBytes, y[0],
            y[1]);
      }
    }
  }

  __device__ void store_rows(int first) const {
    constexpr int kRowsPerPass = kWarpSize / kChunks;
    const int chunk = place_.lane % kChunks;
    const int column = place_.column + chunk * kWidth;
    if (column >= static_cast<int>(args_.columns)) return;
    const Chunk<float, 4> gate = gate_of(column);
    Out* const out = static_cast<Out*>(args_.out) + column;
#pragma unroll
    for (int pass = 0; pass < kRows / kRowsPerPass; ++pass) {
      const int staged = pass * kRowsPerPass + place_.lane / kChunks;
      const int row = place_.row + first + staged;
      if (row >= static_cast<int>(args_.rows)) continue;
      auto chunk_of_row = *reinterpret_cast<const Chunk<Out, kWidth>*>(
          tile_ + tile_offset(staged, chunk, kRowBytes));
      Out* const to = out + row * args_.out_row_stride;
      if constexpr (kEpilogue == Int8Epilogue::kResidual) {
        const Chunk<float, 4> old = load_chunk<4>(to);
#pragma unroll
        for (int i = 0; i < 4; ++i)
          chunk_of_row.at[i] = fmaf(chunk_of_row.at[i], gate.at[i], old.at[i]);
      }
      store_chunk(to, chunk_of_row);
    }
  }

  __device__ Chunk<float, 4> gate_of(int column) const {
    Chunk<float, 4> gate{};
    if constexpr (kEpilogue == Int8Epilogue::kResidual) {
#pragma unroll
      for (int i = 0; i < 4; ++i) gate.at[i] = args_.gate ? args_.gate[column + i] : 1.0F;
    }
    return gate;
  }

  const Int8LinearArgs& args_;
  const WarpPlace& place_;
  unsigned char* tile_;
};

}  // namespace t2v::kernels
