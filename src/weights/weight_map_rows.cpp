// WeightMap: tensors as int8 rows, and a few rows at a time.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "core/check.h"
#include "core/escape.h"
#include "weights/stored_tensor.h"
#include "weights/weight_map.h"

namespace t2v::weights {
namespace {

bool is_int8_by_rows(const TensorEntry& entry, const QuantisedLinear* scheme) noexcept {
  return scheme != nullptr && entry.encoding == Encoding::kPlain &&
         entry.dtype == c10::ScalarType::Char && entry.shape.size() == 2 &&
         scheme->scale != nullptr && !scheme->block_scale;
}

bool can_be_quantised_as_it_is(const TensorEntry& entry) noexcept {
  return entry.dtype == at::kFloat || entry.dtype == at::kBFloat16 || entry.dtype == at::kHalf;
}

}  // namespace

std::optional<int64_t> WeightMap::int8_rotation(std::string_view name) const {
  const Mapped& found = mapped(name);
  if (!is_int8_by_rows(*found.entry, found.scheme)) return std::nullopt;
  return found.scheme->rotation;
}

WeightMap::Storage WeightMap::storage_of(std::string_view name) const {
  const Mapped& found = convertible(name);
  return {found.entry, found.scheme};
}

void WeightMap::refuse_row(std::string_view name, int64_t row) const {
  const TensorEntry& entry = *mapped(name).entry;
  throw Error(checkpoint_->error_kind(),
              core::str(label_, ": tensor '", core::escape_control(entry.name, 200), "': row ", row,
                        " holds NaN or infinite values (", checkpoint_->file_of(entry),
                        "); is the file damaged?"));
}

Int8Rows WeightMap::convert_int8(std::string_view name, int64_t rotation,
                                 const ReadEntry& read) const {
  const Mapped& found = convertible(name);
  const TensorEntry& entry = *found.entry;
  (void)shape(name, 2);
  Int8Rows rows;
  if (is_int8_by_rows(entry, found.scheme) && found.scheme->rotation == rotation &&
      !has_delta(found)) {
    const at::Tensor scale = read(*found.scheme->scale).to(at::kFloat).reshape({-1});
    rows = {read(entry), scale.expand({entry.shape[0]}).contiguous()};
  } else if (!found.is_quantised() && !has_delta(found) && can_be_quantised_as_it_is(entry)) {
    rows = quantise_rows(read(entry), rotation);
  } else {
    at::Tensor wide = at::empty(entry.shape, at::kFloat);
    convert_into(name, wide, read);
    rows = quantise_rows(wide, rotation);
  }
  const int64_t broken = first_broken_row(rows.row_scale);
  if (broken >= 0) refuse_row(name, broken);
  return rows;
}

Int8Rows WeightMap::take_int8(std::string_view name, int64_t rotation) const {
  return convert_int8(name, rotation, [this](const TensorEntry& entry) { return load(entry); });
}

StoredTensor WeightMap::stored_rows(std::string_view name, int64_t begin, int64_t count,
                                    const at::Tensor& bytes, const at::Tensor& scale) const {
  const Mapped& found = convertible(name);
  StoredTensor rows;
  rows.encoding = found.entry->encoding;
  rows.shape = found.entry->shape;
  if (!rows.shape.empty()) rows.shape[0] = count;
  rows.payload =
      rows.encoding == Encoding::kPlain ? bytes.view(found.entry->dtype).view(rows.shape) : bytes;
  if (found.scheme == nullptr) return rows;
  rows.rotation = found.scheme->rotation;
  rows.block_scale = found.scheme->block_scale;
  if (!scale.defined()) return rows;
  if (rows.block_scale) {
    T2V_ASSERT(begin % kScaleBlock == 0);
    rows.scale = scale.narrow(0, begin / kScaleBlock, (count + kScaleBlock - 1) / kScaleBlock);
  } else {
    rows.scale = scale.numel() == 1 ? scale : scale.reshape({-1}).narrow(0, begin, count);
  }
  return rows;
}

}  // namespace t2v::weights
