// Where a model part's weights come from, and where and in which type they go.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <string>

#include "ops/backend.h"
#include "ops/op_timer.h"
#include "weights/weight_source.h"

namespace t2v::models {

// How the linear layers of the transformer's blocks compute (specs: int8, section 1). Everything
// else looks at dtype alone.
struct QuantPlan {
  ops::RowType rows = ops::RowType::kPlain;
  bool weights_only = false;  // int8 weights, rows in the compute type
  bool as_stored = false;     // layers that are not stored as int8 rows stay in the compute type
  int64_t rotation = 256;     // 0, 64, 256; narrower where a width demands it
  int64_t protect_first = 0;  // so many blocks at each end stay in the compute type
  int64_t protect_last = 0;

  [[nodiscard]] bool is_on() const noexcept { return rows != ops::RowType::kPlain || weights_only; }
  // The same weights for rows in the compute type: few rows gain nothing by being quantised.
  [[nodiscard]] QuantPlan with_plain_rows() const noexcept {
    QuantPlan plan = *this;
    plan.weights_only = is_on();
    plan.rows = ops::RowType::kPlain;
    return plan;
  }
  // What holds for one block.
  [[nodiscard]] QuantPlan for_block(int64_t index, int64_t num_blocks) const noexcept {
    return index < protect_first || index >= num_blocks - protect_last ? QuantPlan{} : *this;
  }
};

struct Placement {
  const weights::WeightSource& source;
  at::ScalarType dtype;
  at::Device device;
  QuantPlan quant = {};

  [[nodiscard]] at::Tensor tensor(const std::string& name, at::ScalarType type) const {
    if (device.is_cpu()) return source.take(name, type);
    at::Tensor placed =
        at::empty(source.shape(name), at::TensorOptions().dtype(type).device(device));
    source.take_into(name, placed);
    ops::count_upload(static_cast<int64_t>(placed.nbytes()));
    return placed;
  }
  // May lie in memory of the source and go with it.
  [[nodiscard]] at::Tensor borrowed(const std::string& name, at::ScalarType type) const {
    return device.is_cpu() ? source.borrow(name, type) : tensor(name, type);
  }
  [[nodiscard]] at::Tensor fp32(const std::string& name) const { return tensor(name, at::kFloat); }
  // For layers that bring it to the device in a layout of their own.
  [[nodiscard]] at::Tensor host_fp32(const std::string& name) const {
    return source.take(name, at::kFloat);
  }
};

}  // namespace t2v::models
