#include "models/wan/quantised_block.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "models/wan/block.h"
#include "models/wan/weights.h"

namespace t2v::models::wan {
namespace {

constexpr int64_t kAlignment = 256;

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool is_matrix(const weights::WeightSource& source, const std::string& name) {
  return name.ends_with(".weight") && source.shape(name).size() == 2;
}

// "blocks.3.ffn.0" of "blocks.3.ffn.0.weight".
std::string layer_of(const std::string& name) {
  return name.substr(0, name.size() - std::string_view(".weight").size());
}

// As the block itself reads it: what makes keys takes plain rows.
Placement placement_of(const Placement& from, const std::string& name) {
  return {from.source, from.dtype, from.device,
          Block::is_key_weight(name) ? from.quant.with_plain_rows() : from.quant};
}

bool becomes_int8(const Placement& from, const std::string& name) {
  return is_matrix(from.source, name) && is_eight_bit(from, {layer_of(name)});
}

int64_t bytes_of(const Placement& from, const std::string& name) {
  const auto& shape = from.source.shape(name);
  if (becomes_int8(from, name))
    return aligned(weights::num_elements(shape)) + aligned(shape[0] * 4);
  return aligned(weights::num_elements(shape) *
                 static_cast<int64_t>(c10::elementSize(from.source.float_type(name))));
}

int64_t total_bytes(const Placement& from, const std::vector<std::string>& names) {
  int64_t bytes = 0;
  for (const std::string& name : names) bytes += bytes_of(from, name);
  return bytes;
}

// Copies into `memory` behind what is there; a view of the copy.
at::Tensor store(const at::Tensor& tensor, std::byte*& memory) {
  const at::Tensor source = tensor.contiguous();
  std::memcpy(memory, source.const_data_ptr(), source.nbytes());
  const at::Tensor view = at::from_blob(memory, source.sizes(), source.options());
  memory += aligned(static_cast<int64_t>(source.nbytes()));
  return view;
}

weights::Int8Rows quantised(const Placement& from, const std::string& name, int64_t rotation) {
  const auto branch = from.source.side_branch(name);
  if (!branch) return from.source.take_int8(name, rotation);
  at::Tensor weight = from.source.take(name, at::kFloat);
  weight.addmm_(branch->up, branch->down);
  return weights::quantise_rows(weight, rotation);
}

}  // namespace

bool QuantisedBlock::pays(const Placement& from, const std::vector<std::string>& names) {
  if (from.quant.rows == ops::RowType::kFp8) return false;
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return becomes_int8(from, name) && !from.source.int8_rotation(name);
  });
}

QuantisedBlock::QuantisedBlock(const Placement& from, const std::vector<std::string>& names,
                               weights::HostAllocator allocate)
    : memory_(total_bytes(from, names), allocate) {
  std::byte* memory = memory_.data();
  for (const std::string& name : names) {
    Part part{.shape = from.source.shape(name), .values = {}, .row_scale = {}, .rotation = 0};
    if (becomes_int8(from, name)) {
      part.rotation = rotation_of(placement_of(from, name), name);
      const weights::Int8Rows rows = quantised(from, name, part.rotation);
      const int64_t broken = weights::first_broken_row(rows.row_scale);
      T2V_REQUIRE(broken < 0, ErrorKind::kModel, "tensor '", name, "': row ", broken,
                  " holds NaN or infinite values; is the file damaged?");
      part.values = store(rows.values, memory);
      part.row_scale = store(rows.row_scale, memory);
    } else {
      part.values = store(from.source.take(name, from.source.float_type(name)), memory);
    }
    parts_.emplace(name, std::move(part));
  }
  T2V_ASSERT(memory <= memory_.data() + memory_.bytes());
}

const QuantisedBlock::Part& QuantisedBlock::part(std::string_view name) const {
  const auto found = parts_.find(name);
  T2V_ASSERT(found != parts_.end());
  return found->second;
}

const std::vector<int64_t>& QuantisedBlock::shape(std::string_view name) const {
  return part(name).shape;
}

const std::vector<int64_t>& QuantisedBlock::shape(std::string_view name, size_t rank) const {
  const auto& found = part(name).shape;
  T2V_ASSERT(found.size() == rank);  // checked when it was read
  return found;
}

at::Tensor QuantisedBlock::borrow(std::string_view name, c10::ScalarType dtype) const {
  const Part& found = part(name);
  T2V_ASSERT(!found.row_scale.defined());
  return found.values.to(dtype);
}

at::Tensor QuantisedBlock::take(std::string_view name, c10::ScalarType dtype) const {
  const at::Tensor tensor = borrow(name, dtype);
  return tensor.is_same(part(name).values) ? tensor.clone() : tensor;
}

void QuantisedBlock::take_into(std::string_view name, at::Tensor& destination) const {
  const Part& found = part(name);
  T2V_ASSERT(!found.row_scale.defined());
  destination.copy_(found.values);
}

c10::ScalarType QuantisedBlock::float_type(std::string_view name) const {
  const Part& found = part(name);
  return found.row_scale.defined() ? at::kFloat : found.values.scalar_type();
}

std::optional<int64_t> QuantisedBlock::int8_rotation(std::string_view name) const {
  const Part& found = part(name);
  return found.row_scale.defined() ? std::make_optional(found.rotation) : std::nullopt;
}

weights::Int8Rows QuantisedBlock::take_int8(std::string_view name, int64_t rotation) const {
  const Part& found = part(name);
  T2V_ASSERT(found.row_scale.defined() && found.rotation == rotation);
  return {found.values, found.row_scale};
}

}  // namespace t2v::models::wan
