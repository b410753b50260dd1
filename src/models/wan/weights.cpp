#include "models/wan/weights.h"

#include <ATen/ops/empty.h>

namespace t2v::models::wan {

ops::Linear load_linear(const Placement& from, const std::string& name) {
  return {from.tensor(name + ".weight", from.dtype), from.tensor(name + ".bias", from.dtype)};
}

ops::Linear load_packed_linear(const Placement& from, const std::vector<std::string>& names) {
  int64_t out = 0;
  int64_t in = 0;
  for (const auto& name : names) {
    const auto& shape = from.map.shape(name + ".weight", 2);
    out += shape[0];
    in = shape[1];
  }
  at::Tensor weight = at::empty({out, in}, from.dtype);
  at::Tensor bias = at::empty({out}, from.dtype);
  int64_t row = 0;
  for (const auto& name : names) {
    const int64_t rows = from.map.shape(name + ".weight", 2)[0];
    at::Tensor weight_part = weight.narrow(0, row, rows);
    at::Tensor bias_part = bias.narrow(0, row, rows);
    from.map.take_into(name + ".weight", weight_part);
    from.map.take_into(name + ".bias", bias_part);
    row += rows;
  }
  return {weight.to(from.device), bias.to(from.device)};
}

void expect_linear(const std::string& name, int64_t out, int64_t in,
                   weights::Expectations& expected) {
  expected.tensors.push_back({name + ".weight", {out, in}});
  expected.tensors.push_back({name + ".bias", {out}});
}

}  // namespace t2v::models::wan
