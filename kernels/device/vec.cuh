// Chunks of consecutive elements, read and written by accesses of up to 16 bytes.
#pragma once

#include "device/dtype.cuh"
#include "t2v/kernels/launch_shape.h"

namespace t2v::kernels {

// Aligned to one access, so that the compiler issues accesses of that width.
template <typename T, int kWidth>
struct alignas(access_bytes(kWidth, sizeof(T))) Chunk {
  T at[kWidth];
};

// `source` is aligned to access_bytes(kWidth, sizeof(T)).
template <int kWidth, typename T>
__device__ inline Chunk<T, kWidth> load_chunk(const T* source) {
  return *reinterpret_cast<const Chunk<T, kWidth>*>(source);
}

template <int kWidth, typename T>
__device__ inline void store_chunk(T* target, const Chunk<T, kWidth>& chunk) {
  *reinterpret_cast<Chunk<T, kWidth>*>(target) = chunk;
}

// Element by element: `source` is aligned to T only.
template <int kWidth, typename T>
__device__ inline Chunk<T, kWidth> load_elements(const T* source) {
  Chunk<T, kWidth> chunk;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) chunk.at[i] = source[i];
  return chunk;
}

template <int kWidth, typename T>
__device__ inline void store_elements(T* target, const Chunk<T, kWidth>& chunk) {
#pragma unroll
  for (int i = 0; i < kWidth; ++i) target[i] = chunk.at[i];
}

// How a thread goes through its part of a row. Wide: full chunks, all items in registers, loops
// unrolled. Narrow (odd widths, misaligned rows): kWidth elements at a time without any alignment,
// and the row is read again where it is needed, because unrolled code for single elements does not
// fit the registers of a block of 1024.
template <int kWidth_, bool kNarrow>
struct Walk {
  static constexpr int kWidth = kWidth_;
  static constexpr int kItems = kValuesPerThread / kWidth;
  static constexpr int kUnroll = kNarrow ? 1 : kItems;
  static constexpr int kHeld = kNarrow ? 1 : kItems;

  // This thread's first column of an item; at or past the row's end there is nothing to do.
  __device__ static int column(int item) {
    return first_column(item, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x), kWidth);
  }

  template <typename T>
  __device__ static Chunk<T, kWidth> load(const T* source) {
    if constexpr (kNarrow)
      return load_elements<kWidth>(source);
    else
      return load_chunk<kWidth>(source);
  }

  template <typename T>
  __device__ static void store(T* target, const Chunk<T, kWidth>& chunk) {
    if constexpr (kNarrow)
      store_elements<kWidth>(target, chunk);
    else
      store_chunk<kWidth>(target, chunk);
  }

  // This thread's chunks of one row.
  template <typename T>
  class Row {
   public:
    __device__ Row(const T* row, int columns) : row_(row) {
      if constexpr (!kNarrow) {
#pragma unroll
        for (int item = 0; item < kItems; ++item) {
          if (column(item) < columns) held_[item] = load(row + column(item));
        }
      }
    }
    // Only for items whose column lies inside the row.
    __device__ Chunk<T, kWidth> operator[](int item) const {
      if constexpr (kNarrow)
        return load(row_ + column(item));
      else
        return held_[item];
    }

   private:
    const T* row_;
    Chunk<T, kWidth> held_[kHeld];
  };
};

// 16-byte accesses to T, and single elements.
template <typename T>
using WideWalk = Walk<full_width(sizeof(T)), false>;
using ElementWalk = Walk<1, true>;

}  // namespace t2v::kernels
