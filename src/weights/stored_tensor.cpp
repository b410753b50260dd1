#include "weights/stored_tensor.h"

#include <ATen/Parallel.h>
#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Float8_e5m2.h>

#include <algorithm>
#include <array>
#include <bit>

#include "core/check.h"
#include "weights/expand_loops.h"

namespace t2v::weights {
namespace {

constexpr int64_t kSegment = 4096;        // elements: 16 KB of fp32 stay in the first cache level
constexpr int64_t kTaskElements = 65536;  // at least, for one thread

// Where the elements of a destination begin, for any of its types.
class Output {
 public:
  explicit Output(at::Tensor& destination)
      : dtype_(destination.scalar_type()), memory_(destination.mutable_data_ptr()) {}

  // fp32 values are made here: in place, or in the buffer until finish().
  [[nodiscard]] float* begin(int64_t element, float* buffer) const {
    return dtype_ == at::kFloat ? static_cast<float*>(memory_) + element : buffer;
  }
  void finish(int64_t element, const float* values, int64_t count) const {
    if (dtype_ == at::kFloat) return;
    uint16_t* out = static_cast<uint16_t*>(memory_) + element;
    if (dtype_ == at::kBFloat16) {
      loops::narrow_bf16(values, out, count);
    } else {
      loops::narrow_half(values, out, count);
    }
  }

 private:
  c10::ScalarType dtype_;
  void* memory_;
};

void expand_ggml(const StoredTensor& stored, const Output& out) {
  const BlockSize block = block_size(stored.encoding);
  const auto* bytes = static_cast<const uint8_t*>(stored.payload.const_data_ptr());
  const int64_t num_blocks = stored.payload.numel() / block.bytes;
  const int64_t step = kSegment / block.elements;
  at::parallel_for(0, num_blocks, kTaskElements / block.elements, [&](int64_t begin, int64_t end) {
    alignas(64) std::array<float, kSegment> buffer;
    for (int64_t i = begin; i < end; i += step) {
      const int64_t count = std::min(step, end - i);
      float* values = out.begin(i * block.elements, buffer.data());
      loops::expand_blocks(stored.encoding, bytes + i * block.bytes, count, values);
      out.finish(i * block.elements, values, count * block.elements);
    }
  });
}

template <typename Float8>
std::array<float, 256> make_table() {
  std::array<float, 256> table{};
  for (size_t i = 0; i < table.size(); ++i)
    table[i] = static_cast<float>(Float8(static_cast<uint8_t>(i), Float8::from_bits()));
  return table;
}

// The value of each code of an 8-bit float; nullptr for other types.
const float* table_of(c10::ScalarType dtype) {
  static const std::array<float, 256> e4m3 = make_table<c10::Float8_e4m3fn>();
  static const std::array<float, 256> e5m2 = make_table<c10::Float8_e5m2>();
  if (dtype == c10::ScalarType::Float8_e4m3fn) return e4m3.data();
  return dtype == c10::ScalarType::Float8_e5m2 ? e5m2.data() : nullptr;
}

// Rows of one-byte elements with their scales.
class ByteRows {
 public:
  explicit ByteRows(const StoredTensor& stored)
      : bytes_(static_cast<const uint8_t*>(stored.payload.const_data_ptr())),
        table_(table_of(stored.payload.scalar_type())),
        rotation_(stored.rotation),
        block_scale_(stored.block_scale) {
    const int64_t total = stored.payload.numel();
    rows_ = stored.shape.empty() ? 1 : stored.shape[0];
    columns_ = rows_ == 0 ? 0 : total / rows_;
    if (!stored.scale.defined()) return;
    scale_ = stored.scale.const_data_ptr<float>();
    row_scale_ = !block_scale_ && stored.scale.numel() > 1;
  }

  [[nodiscard]] int64_t rows() const noexcept { return rows_; }
  [[nodiscard]] int64_t columns() const noexcept { return columns_; }

  void expand(int64_t row, const Output& out, float* buffer) const {
    for (int64_t start = 0; start < columns_; start += kSegment) {
      const int64_t count = std::min(kSegment, columns_ - start);
      const int64_t element = row * columns_ + start;
      float* values = out.begin(element, buffer);
      if (block_scale_) {
        const int64_t blocks = (columns_ + kScaleBlock - 1) / kScaleBlock;
        const float* scales = scale_ + row / kScaleBlock * blocks + start / kScaleBlock;
        for (int64_t at = 0; at < count; at += kScaleBlock) {
          convert(element + at, scales[at / kScaleBlock], values + at,
                  std::min(kScaleBlock, count - at));
        }
      } else {
        convert(element, scale_ == nullptr ? 1.F : scale_[row_scale_ ? row : 0], values, count);
      }
      if (rotation_ > 1) loops::rotate(values, count, rotation_);
      out.finish(element, values, count);
    }
  }

 private:
  void convert(int64_t element, float scale, float* values, int64_t count) const {
    const uint8_t* x = bytes_ + element;
    if (table_ != nullptr) {
      loops::expand_table(x, table_, scale, values, count);
    } else {
      loops::expand_int8(reinterpret_cast<const int8_t*>(x), scale, values, count);
    }
  }

  const uint8_t* bytes_;
  const float* table_;
  const float* scale_ = nullptr;
  int64_t rotation_;
  bool block_scale_;
  bool row_scale_ = false;
  int64_t rows_ = 0;
  int64_t columns_ = 0;
};

void expand_bytes(const StoredTensor& stored, const Output& out) {
  const ByteRows rows(stored);
  if (rows.columns() == 0) return;
  const int64_t grain = std::max<int64_t>(1, kTaskElements / rows.columns());
  at::parallel_for(0, rows.rows(), grain, [&](int64_t begin, int64_t end) {
    alignas(64) std::array<float, kSegment> buffer;
    for (int64_t row = begin; row < end; ++row) rows.expand(row, out, buffer.data());
  });
}

bool is_one_byte(c10::ScalarType dtype) noexcept {
  return dtype == c10::ScalarType::Char || dtype == c10::ScalarType::Float8_e4m3fn ||
         dtype == c10::ScalarType::Float8_e5m2;
}

// The sizes that the schemes have been checked for when they were found.
void check(const StoredTensor& stored) {
  const at::Tensor& payload = stored.payload;
  T2V_ASSERT(payload.is_contiguous());
  if (stored.encoding != Encoding::kPlain) {
    const BlockSize block = block_size(stored.encoding);
    T2V_ASSERT(payload.scalar_type() == at::kByte && payload.numel() % block.bytes == 0 &&
               payload.numel() / block.bytes * block.elements == num_elements(stored.shape) &&
               !stored.scale.defined() && stored.rotation == 0);
    return;
  }
  T2V_ASSERT(payload.sizes() == c10::IntArrayRef(stored.shape));
  const int64_t rows = stored.shape.empty() ? 1 : stored.shape[0];
  const int64_t columns = rows == 0 ? 0 : payload.numel() / rows;
  if (stored.rotation > 1) {
    T2V_ASSERT(std::has_single_bit(static_cast<uint64_t>(stored.rotation)) &&
               std::countr_zero(static_cast<uint64_t>(stored.rotation)) % 2 == 0 &&
               stored.rotation <= kSegment && columns % stored.rotation == 0);
  }
  if (!stored.scale.defined()) return;
  T2V_ASSERT(stored.scale.scalar_type() == at::kFloat && stored.scale.is_contiguous());
  const int64_t blocks =
      (rows + kScaleBlock - 1) / kScaleBlock * ((columns + kScaleBlock - 1) / kScaleBlock);
  const int64_t count = stored.scale.numel();
  T2V_ASSERT(stored.block_scale ? count == blocks && stored.shape.size() == 2
                                : count == 1 || count == rows);
}

}  // namespace

bool is_quantised(const StoredTensor& stored) noexcept {
  return stored.encoding != Encoding::kPlain || is_one_byte(stored.payload.scalar_type());
}

void expand_into(const StoredTensor& stored, at::Tensor& destination) {
  check(stored);
  T2V_ASSERT(destination.is_contiguous() && destination.sizes() == c10::IntArrayRef(stored.shape) &&
             destination.device() == stored.payload.device());
  const c10::ScalarType dtype = destination.scalar_type();
  const bool has_loops =
      destination.is_cpu() && (dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf);
  if (has_loops && stored.encoding != Encoding::kPlain) {
    expand_ggml(stored, Output(destination));
  } else if (has_loops && is_one_byte(stored.payload.scalar_type())) {
    expand_bytes(stored, Output(destination));
  } else if (stored.encoding == Encoding::kPlain && !stored.scale.defined() &&
             stored.rotation == 0) {
    destination.copy_(stored.payload);
  } else {
    destination.copy_(expand_reference(stored, dtype));
  }
}

}  // namespace t2v::weights
