// The last projection: tokens -> model output in latent space.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/spec.h"
#include "ops/linear.h"
#include "weights/weight_map.h"

namespace t2v::models::wan {

// Runs in fp32.
class Head {
 public:
  Head(const TransformerSpec& spec, const weights::WeightSource& source, at::Device device);
  static void expect(const TransformerSpec& spec, weights::Expectations& expected);

  // x fp32 [L, C], time fp32 [C] (TimeModulation::head) -> fp32 [L, ph*pw*out_channels].
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x, const at::Tensor& time) const;

 private:
  double eps_;
  at::Tensor modulation_;  // fp32 [2, C]: shift, scale
  ops::Linear head_;
};

}  // namespace t2v::models::wan
