// y = x * W^T + b with the weight packed once for the device, and an optional fused activation.
#pragma once

#include <ATen/core/Tensor.h>

namespace t2v::ops {

enum class Activation { kNone, kGeluTanh };

class Linear {
 public:
  Linear() = default;
  // weight [out, in], bias [out] or undefined; both in the type the product runs in. On the CPU the
  // weight is packed for oneDNN and the plain copy is given up when the caller does.
  Linear(at::Tensor weight, at::Tensor bias);

  // x [rows, in], same type as the weight -> [rows, out].
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x,
                                      Activation activation = Activation::kNone) const;

  [[nodiscard]] int64_t in_features() const noexcept { return in_features_; }
  [[nodiscard]] int64_t out_features() const noexcept { return out_features_; }
  [[nodiscard]] at::ScalarType dtype() const { return weight_.scalar_type(); }

 private:
  at::Tensor weight_;
  at::Tensor bias_;
  int64_t in_features_ = 0;
  int64_t out_features_ = 0;
  bool packed_ = false;
};

}  // namespace t2v::ops
