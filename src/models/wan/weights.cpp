#include "models/wan/weights.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>

#include "core/check.h"
#include "ops/int8.h"

namespace t2v::models::wan {

bool is_eight_bit(const Placement& from, const std::vector<std::string>& names) {
  if (!from.quant.is_on()) return false;
  return !from.quant.as_stored || std::all_of(names.begin(), names.end(), [&](const auto& name) {
    return from.source.int8_rotation(name + ".weight").has_value();
  });
}

int64_t rotation_of(const Placement& from, const std::string& name) {
  if (from.quant.rows == ops::RowType::kFp8) return 0;
  if (const auto stored = from.source.int8_rotation(name)) return *stored;
  return ops::rotation_group(from.quant.rotation, from.source.shape(name, 2)[1]);
}

namespace {

using weights::SideBranch;

void add_branch(ops::Linear& linear, const SideBranch& branch, const Placement& from) {
  linear.add_branch(branch.down.to(from.device, from.dtype), branch.up.to(from.device, from.dtype));
}

// The branches of layers whose outputs stand side by side: each reaches its own rows only.
std::optional<SideBranch> join_branches(const Placement& from,
                                        const std::vector<std::string>& names) {
  std::vector<at::Tensor> down;
  int64_t rank = 0;
  for (const auto& name : names) {
    const auto branch = from.source.side_branch(name + ".weight");
    if (!branch) continue;
    down.push_back(branch->down);
    rank += branch->down.size(0);
  }
  if (down.empty()) return std::nullopt;
  std::vector<at::Tensor> up;
  int64_t column = 0;
  for (const auto& name : names) {
    const auto branch = from.source.side_branch(name + ".weight");
    at::Tensor rows = at::zeros({from.source.shape(name + ".weight", 2)[0], rank});
    if (branch) {
      rows.narrow(1, column, branch->up.size(1)).copy_(branch->up);
      column += branch->up.size(1);
    }
    up.push_back(rows);
  }
  return SideBranch{at::cat(down), at::cat(up)};
}

// int8 kernels of devices read 16 bytes of a row at a time.
constexpr int64_t kDeviceColumns = 16;
constexpr int64_t kDeviceRows = 8;

// Names the first row whose scale cannot be.
void check_scales(const Placement& from, const std::string& name, const at::Tensor& scales) {
  const at::Tensor bad = at::logical_not(at::isfinite(scales).logical_and_(scales.gt(0)));
  if (!bad.any().item<bool>()) return;
  const auto row = bad.to(at::kInt).argmax().item<int64_t>();
  throw Error(ErrorKind::kModel,
              core::str("tensor '", name, "': row ", row, " of ", from.source.shape(name, 2)[0],
                        " has the scale ", scales[row].item<float>(),
                        ", expected a positive number: the row holds NaN or infinite values, or "
                        "its stored scale is broken; try --quant none, or another file"));
}

// One weight in 8 bits on the device. What is not stored so travels in a type that holds it and is
// quantised there.
ops::QuantisedRows load_rows(const Placement& from, const std::string& name, int64_t rotation) {
  ops::QuantisedRows rows;
  const bool fp8 = from.quant.rows == ops::RowType::kFp8;
  // Left out of stored 8-bit weights; rows of 8 bits take no branch beside them, so it is added.
  const auto branch = from.source.side_branch(name);
  if (!fp8 && !branch && (from.device.is_cpu() || from.source.int8_rotation(name) == rotation)) {
    const weights::Int8Rows taken = from.source.take_int8(name, rotation);
    check_scales(from, name, taken.row_scale);
    const bool keep = from.device.is_cpu() && from.quant.rows == ops::RowType::kPlain;
    rows = {keep ? taken.values.clone() : taken.values.to(from.device, /*non_blocking=*/true),
            from.device.is_cpu() ? taken.row_scale.clone() : taken.row_scale.to(from.device)};
    if (!from.device.is_cpu())
      ops::count_upload(static_cast<int64_t>(rows.values.nbytes() + rows.row_scale.nbytes()));
    return rows;
  }
  at::Tensor weight = from.tensor(name, branch ? at::kFloat : from.source.float_type(name));
  if (branch) weight.addmm_(branch->up.to(from.device), branch->down.to(from.device));
  rows = fp8 ? ops::quantise_rows_fp8(weight, rotation) : ops::quantise_rows(weight, rotation);
  check_scales(from, name, rows.row_scale);
  return rows;
}

// Scales belong to rows, so layers with one input stand below each other.
ops::Linear load_eight_bit(const Placement& from, const std::vector<std::string>& names) {
  const ops::RowType type = from.quant.rows;
  const at::ScalarType bias_type = type == ops::RowType::kPlain ? from.dtype : at::kFloat;
  const int64_t rotation = rotation_of(from, names[0] + ".weight");
  std::vector<at::Tensor> values;
  std::vector<at::Tensor> scales;
  std::vector<at::Tensor> biases;
  for (const auto& name : names) {
    const auto& shape = from.source.shape(name + ".weight", 2);
    T2V_REQUIRE(
        from.device.is_cpu() || (shape[0] % kDeviceRows == 0 && shape[1] % kDeviceColumns == 0),
        ErrorKind::kModel, "tensor '", name, ".weight' is [", shape[0], ", ", shape[1],
        "]: 8-bit products on this device need multiples of [", kDeviceRows, ", ", kDeviceColumns,
        "]; try --quant none");
    const ops::QuantisedRows rows = load_rows(from, name + ".weight", rotation);
    values.push_back(rows.values);
    scales.push_back(rows.row_scale);
    biases.push_back(from.tensor(name + ".bias", bias_type));
  }
  const auto join = [](const std::vector<at::Tensor>& parts) {
    return parts.size() == 1 ? parts[0] : at::cat(parts);
  };
  return {ops::QuantisedRows{join(values), join(scales)}, join(biases),
          ops::RowFormat{.type = type, .dtype = from.dtype, .rotation = rotation}};
}

}  // namespace

ops::Linear load_linear(const Placement& from, const std::string& name) {
  if (is_eight_bit(from, {name})) return load_eight_bit(from, {name});
  // A weight that is packed for the product is read but once: it need not be copied before.
  at::Tensor weight = from.borrowed(name + ".weight", from.dtype);
  if (!ops::Linear::packs(weight)) weight = from.tensor(name + ".weight", from.dtype);
  ops::Linear linear(weight, from.tensor(name + ".bias", from.dtype));
  if (const auto branch = from.source.side_branch(name + ".weight"))
    add_branch(linear, *branch, from);
  return linear;
}

ops::Linear load_packed_linear(const Placement& from, const std::vector<std::string>& names) {
  if (is_eight_bit(from, names)) return load_eight_bit(from, names);
  int64_t out = 0;
  int64_t in = 0;
  for (const auto& name : names) {
    const auto& shape = from.source.shape(name + ".weight", 2);
    out += shape[0];
    in = shape[1];
  }
  const auto options = at::TensorOptions().dtype(from.dtype).device(from.device);
  at::Tensor weight = at::empty({out, in}, options);
  at::Tensor bias = at::empty({out}, options);
  int64_t row = 0;
  for (const auto& name : names) {
    const int64_t rows = from.source.shape(name + ".weight", 2)[0];
    at::Tensor weight_part = weight.narrow(0, row, rows);
    at::Tensor bias_part = bias.narrow(0, row, rows);
    from.source.take_into(name + ".weight", weight_part);
    from.source.take_into(name + ".bias", bias_part);
    row += rows;
  }
  ops::Linear linear(weight, bias);
  if (const auto branch = join_branches(from, names)) add_branch(linear, *branch, from);
  return linear;
}

void expect_linear(const std::string& name, int64_t out, int64_t in,
                   weights::Expectations& expected) {
  expected.tensors.push_back({name + ".weight", {out, in}});
  expected.tensors.push_back({name + ".bias", {out}});
}

}  // namespace t2v::models::wan
