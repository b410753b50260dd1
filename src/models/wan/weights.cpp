#include "models/wan/weights.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <optional>

namespace t2v::models::wan {
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

}  // namespace

ops::Linear load_linear(const Placement& from, const std::string& name) {
  // A weight that is packed for the product is read but once: it need not be copied before.
  at::Tensor weight = from.borrowed(name + ".weight", from.dtype);
  if (!ops::Linear::packs(weight)) weight = from.tensor(name + ".weight", from.dtype);
  ops::Linear linear(weight, from.tensor(name + ".bias", from.dtype));
  if (const auto branch = from.source.side_branch(name + ".weight"))
    add_branch(linear, *branch, from);
  return linear;
}

ops::Linear load_packed_linear(const Placement& from, const std::vector<std::string>& names) {
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
