// Matrices of any element type at any offset and stride, for the tests that run kernels on the
// host.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

// 64-byte aligned storage, the matrix `offset` elements behind its start, all else poisoned.
class HostMatrix {
 public:
  HostMatrix(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t extra_stride = 0,
             std::int64_t offset = 0)
      : dtype_(dtype),
        rows_(rows),
        columns_(columns),
        stride_(columns + extra_stride),
        offset_(offset),
        storage_(static_cast<std::size_t>((rows * stride_ + offset + 32) * 4 / 64 + 2)) {
    for (std::int64_t i = -offset; i < rows * stride_; ++i) put(i, kPoison);
  }

  void* data() { return bytes() + offset_ * element_bytes(dtype_); }
  float* floats() { return static_cast<float*>(data()); }
  [[nodiscard]] std::int64_t stride() const { return stride_; }
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t columns() const { return columns_; }

  double get(std::int64_t row, std::int64_t column) const { return at(row * stride_ + column); }
  void set(std::int64_t row, std::int64_t column, float value) {
    put(row * stride_ + column, value);
  }

  void fill_normal(unsigned seed, float mean = 0.0F, float deviation = 1.0F) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(mean, deviation);
    for (std::int64_t row = 0; row < rows_; ++row) {
      for (std::int64_t column = 0; column < columns_; ++column) set(row, column, normal(engine));
    }
  }

  // Nothing was written before, between or behind the rows.
  [[nodiscard]] bool surroundings_intact() const {
    for (std::int64_t i = -offset_; i < rows_ * stride_; ++i) {
      const bool inside = i >= 0 && i % stride_ < columns_;
      if (!inside && !std::isnan(at(i))) return false;
    }
    return true;
  }

 private:
  struct alignas(64) Block {
    unsigned char bytes[64];
  };
  static constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

  unsigned char* bytes() { return storage_.front().bytes; }
  [[nodiscard]] const unsigned char* bytes() const { return storage_.front().bytes; }

  [[nodiscard]] double at(std::int64_t i) const {
    const void* p = bytes() + (i + offset_) * element_bytes(dtype_);
    if (dtype_ == DType::kFloat32) return *static_cast<const float*>(p);
    if (dtype_ == DType::kBFloat16) return __bfloat162float(*static_cast<const __nv_bfloat16*>(p));
    return __half2float(*static_cast<const __half*>(p));
  }
  void put(std::int64_t i, float value) {
    void* p = bytes() + (i + offset_) * element_bytes(dtype_);
    if (dtype_ == DType::kFloat32)
      *static_cast<float*>(p) = value;
    else if (dtype_ == DType::kBFloat16)
      *static_cast<__nv_bfloat16*>(p) = __float2bfloat16_rn(value);
    else
      *static_cast<__half*>(p) = __float2half_rn(value);
  }

  DType dtype_;
  std::int64_t rows_;
  std::int64_t columns_;
  std::int64_t stride_;
  std::int64_t offset_;
  std::vector<Block> storage_;
};

// One rounding to the stored type plus fp32 arithmetic; written so that NaN is not close.
inline bool close(double actual, double expected, DType dtype) {
  const double unit = dtype == DType::kFloat32 ? 0.0 : dtype == DType::kBFloat16 ? 0x1p-8 : 0x1p-11;
  return std::fabs(actual - expected) <= 4e-6 + (unit + 4e-6) * std::fabs(expected);
}

}  // namespace t2v::kernels
