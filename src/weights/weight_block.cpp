#include "weights/weight_block.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstring>

#include "core/check.h"

namespace t2v::weights {

// Matrix products of fp32 take another path, with other roundings, for memory that is not aligned
// so; the same weights must give the same result wherever they lie in a file.
constexpr size_t kFloatAlignment = 64;

// A view where the bytes lie as their type needs them, else a copy.
at::Tensor WeightBlock::raw(const TensorEntry& entry) const {
  const bool plain = entry.encoding == Encoding::kPlain;
  const auto options = at::TensorOptions().dtype(plain ? entry.dtype : at::kByte);
  const std::vector<int64_t> bytes_shape = {entry.bytes};
  const auto& shape = plain ? entry.shape : bytes_shape;
  const int64_t place = turn_.place_of(entry);
  T2V_ASSERT(place >= 0 || entry.bytes == 0);
  if (entry.bytes == 0) return at::empty(shape, options);
  const std::byte* bytes = bytes_ + place;
  const size_t alignment =
      plain && entry.dtype == c10::ScalarType::Float ? kFloatAlignment : options.dtype().itemsize();
  if (reinterpret_cast<uintptr_t>(bytes) % alignment == 0)
    return at::from_blob(const_cast<std::byte*>(bytes), shape, options);  // read only
  at::Tensor copy = at::empty(shape, options);
  std::memcpy(copy.mutable_data_ptr(), bytes, static_cast<size_t>(entry.bytes));
  return copy;
}

at::Tensor WeightBlock::borrow(std::string_view name, c10::ScalarType dtype) const {
  return map_.convert(name, dtype, [this](const TensorEntry& entry) { return raw(entry); });
}

at::Tensor WeightBlock::take(std::string_view name, c10::ScalarType dtype) const {
  const at::Tensor tensor = borrow(name, dtype);
  const auto* data = static_cast<const std::byte*>(tensor.const_data_ptr());
  const bool inside = data >= bytes_ && data < bytes_ + turn_.buffer_bytes;
  return inside ? tensor.clone() : tensor;
}

void WeightBlock::take_into(std::string_view name, at::Tensor& destination) const {
  map_.convert_into(name, destination, [this](const TensorEntry& entry) { return raw(entry); });
}

Int8Rows WeightBlock::take_int8(std::string_view name, int64_t rotation) const {
  return map_.convert_int8(name, rotation, [this](const TensorEntry& entry) { return raw(entry); });
}

}  // namespace t2v::weights
