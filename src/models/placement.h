// Where a model part's weights come from, and where and in which type they go.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <string>

#include "weights/weight_source.h"

namespace t2v::models {

struct Placement {
  const weights::WeightSource& source;
  at::ScalarType dtype;
  at::Device device;

  [[nodiscard]] at::Tensor tensor(const std::string& name, at::ScalarType type) const {
    if (device.is_cpu()) return source.take(name, type);
    at::Tensor placed =
        at::empty(source.shape(name), at::TensorOptions().dtype(type).device(device));
    source.take_into(name, placed);
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
