#include "weights/tensor_entry.h"

#include <algorithm>
#include <array>
#include <utility>

#include "weights/safetensors.h"

namespace t2v::weights {
namespace {

struct Known {
  std::string_view name;
  BlockSize block;
};

// By enumerator.
constexpr std::array<Known, 11> kKnown{{
    {"", {1, 0}},
    {"Q4_0", {32, 18}},
    {"Q4_1", {32, 20}},
    {"Q5_0", {32, 22}},
    {"Q5_1", {32, 24}},
    {"Q8_0", {32, 34}},
    {"Q2_K", {256, 84}},
    {"Q3_K", {256, 110}},
    {"Q4_K", {256, 144}},
    {"Q5_K", {256, 176}},
    {"Q6_K", {256, 210}},
}};

// Product of the extents that are not zero times `factor`, or -1.
int64_t nonzero_product(const std::vector<int64_t>& shape, int64_t factor) noexcept {
  for (const int64_t extent : shape) {
    if (extent < 0) return -1;
    if (extent != 0 && __builtin_mul_overflow(factor, extent, &factor)) return -1;
  }
  return factor;
}

bool has_zero(const std::vector<int64_t>& shape) noexcept {
  for (const int64_t extent : shape) {
    if (extent == 0) return true;
  }
  return false;
}

}  // namespace

std::string_view encoding_name(Encoding encoding) noexcept {
  return kKnown[static_cast<size_t>(encoding)].name;
}

BlockSize block_size(Encoding encoding) noexcept {
  return kKnown[static_cast<size_t>(encoding)].block;
}

bool has_control_bytes(std::string_view name) noexcept {
  return std::any_of(name.begin(), name.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

const std::string* sort_by_name(std::vector<TensorEntry>& tensors) {
  // Names with their places are small to move: a million entries sort in half the time.
  std::vector<std::pair<std::string_view, size_t>> order;
  order.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) order.emplace_back(tensors[i].name, i);
  std::sort(order.begin(), order.end());
  std::vector<TensorEntry> sorted;
  sorted.reserve(tensors.size());
  for (const auto& [name, index] : order) sorted.push_back(std::move(tensors[index]));
  tensors = std::move(sorted);
  const auto twice = std::adjacent_find(
      tensors.begin(), tensors.end(),
      [](const TensorEntry& a, const TensorEntry& b) { return a.name == b.name; });
  return twice != tensors.end() ? &twice->name : nullptr;
}

int64_t num_elements(const std::vector<int64_t>& shape) noexcept {
  const int64_t product = nonzero_product(shape, 1);
  return product < 0 ? -1 : has_zero(shape) ? 0 : product;
}

int64_t num_bytes(const TensorEntry& entry) noexcept {
  if (entry.encoding == Encoding::kPlain) {
    const auto size = static_cast<int64_t>(c10::elementSize(entry.dtype));
    const int64_t product = nonzero_product(entry.shape, size);
    return product < 0 ? -1 : has_zero(entry.shape) ? 0 : product;
  }
  const BlockSize block = block_size(entry.encoding);
  const int64_t elements = num_elements(entry.shape);
  // Blocks are never larger than two bytes an element.
  if (elements < 0 || elements % block.elements != 0 || elements > INT64_MAX / 2) return -1;
  return elements / block.elements * block.bytes;
}

std::string_view stored_type_name(const TensorEntry& entry) noexcept {
  if (entry.encoding != Encoding::kPlain) return encoding_name(entry.encoding);
  const char* name = safetensors_dtype_name(entry.dtype);
  return name != nullptr ? name : "?";
}

}  // namespace t2v::weights
