// What a model part is built from: named tensors, read from disk (WeightMap) or lying in memory as
// one streamed block (WeightBlock).
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "weights/quantise_rows.h"

namespace t2v::weights {

// y += (x * down^T) * up^T beside a quantised linear layer: a LoRA that must not be added to it.
struct SideBranch {
  at::Tensor down;  // fp32 [r, in]
  at::Tensor up;    // fp32 [out, r], strength and alpha/r applied
};

// Names are canonical. Const members may be called from several threads.
class WeightSource {
 public:
  WeightSource() = default;
  WeightSource(const WeightSource&) = default;
  WeightSource& operator=(const WeightSource&) = default;
  WeightSource(WeightSource&&) = default;
  WeightSource& operator=(WeightSource&&) = default;
  virtual ~WeightSource();

  // Row-major shape; with the number of dimensions checked. Throw Error{kModel}.
  [[nodiscard]] virtual const std::vector<int64_t>& shape(std::string_view name) const = 0;
  [[nodiscard]] virtual const std::vector<int64_t>& shape(std::string_view name,
                                                          size_t rank) const = 0;
  // One tensor on the CPU, contiguous, converted to dtype, expanded when it is quantised, with the
  // LoRA deltas of plain tensors added in fp32. Small ones (norms, biases, modulation) are checked
  // to be finite. Throws Error{kModel}.
  [[nodiscard]] virtual at::Tensor take(std::string_view name, c10::ScalarType dtype) const = 0;
  // As take, but the tensor may lie in memory of the source and is gone with it.
  [[nodiscard]] virtual at::Tensor borrow(std::string_view name, c10::ScalarType dtype) const = 0;
  // Into memory that the caller owns: contiguous, same shape, any float dtype. On another device,
  // quantised weights travel packed and are expanded there.
  virtual void take_into(std::string_view name, at::Tensor& destination) const = 0;
  // What take() has left out because the weight `name` is quantised.
  [[nodiscard]] virtual std::optional<SideBranch> side_branch(std::string_view name) const = 0;

  // The narrowest float type in which take() rounds nothing: the stored one of a plain tensor
  // without deltas, else fp32.
  [[nodiscard]] virtual c10::ScalarType float_type(std::string_view name) const;
  // The group of columns in which a weight that is stored as int8 by rows was rotated (0: not);
  // empty for weights that are stored in any other way.
  [[nodiscard]] virtual std::optional<int64_t> int8_rotation(std::string_view name) const;
  // A weight [N, K] as int8 rows, rotated in groups of `rotation`: as stored when it is stored so
  // (then it may lie in memory of the source and is gone with it), else made of what take() gives
  // in fp32. Throws Error{kModel} naming the row that is not finite.
  [[nodiscard]] virtual Int8Rows take_int8(std::string_view name, int64_t rotation) const;
};

}  // namespace t2v::weights
