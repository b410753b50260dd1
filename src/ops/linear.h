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

  // Whether the constructor keeps a packed copy instead of the tensor itself.
  static bool packs(const at::Tensor& weight);
  // Adds (x * down^T) * up^T to the product, before the activation. down [r, in], up [out, r], in
  // the layer's type and on its device.
  void add_branch(at::Tensor down, at::Tensor up);

  // x [rows, in], same type as the weight -> [rows, out].
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x,
                                      Activation activation = Activation::kNone) const;

  // False for a layer made by default: it has no weights.
  [[nodiscard]] bool defined() const { return weight_.defined(); }
  [[nodiscard]] int64_t in_features() const noexcept { return in_features_; }
  [[nodiscard]] int64_t out_features() const noexcept { return out_features_; }
  [[nodiscard]] at::ScalarType dtype() const { return weight_.scalar_type(); }

 private:
  [[nodiscard]] at::Tensor product(const at::Tensor& x, Activation activation) const;

  at::Tensor weight_;
  at::Tensor bias_;
  at::Tensor branch_down_, branch_up_;  // undefined: no branch
  int64_t in_features_ = 0;
  int64_t out_features_ = 0;
  bool packed_ = false;
};

}  // namespace t2v::ops
