// y = x * W^T + b with the weight packed once for the device, and an optional fused activation. The
// weight is of the compute type, of 8 bits for rows of 8 bits, or of 8 bits and expanded when used.
#pragma once

#include "ops/backend.h"

namespace t2v::ops {

enum class Activation { kNone, kGeluTanh };

class Linear {
 public:
  Linear() = default;
  // weight [out, in], bias [out] or undefined; both in the type the product runs in. On the CPU the
  // weight is packed for oneDNN and the plain copy is given up when the caller does.
  Linear(at::Tensor weight, at::Tensor bias);
  // weight: 8-bit values [out, in], rotated within groups of rows.rotation. rows.type kInt8, kFp8:
  // takes such rows and gives rows.dtype; bias fp32 [out] or undefined. kPlain: takes rows of
  // rows.dtype; the weight is int8 and expanded in each call; bias in rows.dtype.
  Linear(const QuantisedRows& weight, at::Tensor bias, const RowFormat& rows);

  // Whether the constructor keeps a packed copy instead of the tensor itself.
  static bool packs(const at::Tensor& weight);
  // Adds (x * down^T) * up^T to the product, before the activation. down [r, in], up [out, r], in
  // the layer's type and on its device.
  void add_branch(at::Tensor down, at::Tensor up);

  // What it takes; make_rows and its like (ops/int8.h) give it.
  [[nodiscard]] RowFormat row_format() const;

  // x [rows, in] in row_format() -> [rows, out] in its dtype.
  [[nodiscard]] at::Tensor operator()(const Rows& x,
                                      Activation activation = Activation::kNone) const;
  // The same for layers that take plain rows.
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x,
                                      Activation activation = Activation::kNone) const;
  // sum fp32 [rows, out] += gate * product; gate fp32 [out], or undefined for 1.
  void add_to(at::Tensor& sum, const Rows& x, const at::Tensor& gate) const;

  // False for a layer made by default: it has no weights.
  [[nodiscard]] bool defined() const { return in_features_ != 0; }
  [[nodiscard]] int64_t in_features() const noexcept { return in_features_; }
  [[nodiscard]] int64_t out_features() const noexcept { return out_features_; }
  [[nodiscard]] at::ScalarType dtype() const noexcept { return rows_.dtype; }

 private:
  [[nodiscard]] at::Tensor product(const at::Tensor& x, Activation activation) const;

  at::Tensor weight_;  // in the compute type; undefined: eight_bit_
  Int8Weight eight_bit_;
  RowFormat rows_;
  at::Tensor bias_;
  at::Tensor branch_down_, branch_up_;  // undefined: no branch
  int64_t in_features_ = 0;
  int64_t out_features_ = 0;
  bool packed_ = false;
};

}  // namespace t2v::ops
