// The composed form of expansion: what expand_into() must equal, bit by bit.
#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>

#include "core/check.h"
#include "weights/ggml_reference.h"
#include "weights/stored_tensor.h"

namespace t2v::weights {
namespace {

// fp32, of the stored values' shape [N, K].
at::Tensor scaled(const at::Tensor& values, const StoredTensor& stored) {
  const at::Tensor& scale = stored.scale;
  if (scale.numel() == 1 && !stored.block_scale) return values * scale.reshape({});
  const int64_t rows = values.size(0);
  if (!stored.block_scale) {
    std::vector<int64_t> column(stored.shape.size(), 1);
    column[0] = rows;
    return values * scale.reshape(column);
  }
  const int64_t columns = values.size(1);
  const at::Tensor wide = scale.repeat_interleave(kScaleBlock, 0)
                              .narrow(0, 0, rows)
                              .repeat_interleave(kScaleBlock, 1)
                              .narrow(1, 0, columns);
  return values * wide;
}

// One factor H4 of R at a time, in the order of the loops.
at::Tensor rotated(at::Tensor values, int64_t group) {
  const auto shape = values.sizes().vec();
  for (int64_t inner = 1; inner < group; inner *= 4) {
    const at::Tensor parts = values.reshape({-1, 4, inner});
    const at::Tensor a = parts.select(1, 0);
    const at::Tensor b = parts.select(1, 1);
    const at::Tensor c = parts.select(1, 2);
    const at::Tensor d = parts.select(1, 3);
    values = at::stack({((a + b) + (c - d)) * 0.5, ((a + b) - (c - d)) * 0.5,
                        ((a - b) + (c + d)) * 0.5, ((c + d) - (a - b)) * 0.5},
                       1);
  }
  return values.reshape(shape);
}

}  // namespace

at::Tensor expand_reference(const StoredTensor& stored, c10::ScalarType dtype) {
  const bool plain = stored.encoding == Encoding::kPlain;
  at::Tensor values =
      plain ? stored.payload : decode_ggml(stored.encoding, stored.payload).view(stored.shape);
  T2V_ASSERT(values.sizes() == c10::IntArrayRef(stored.shape));
  if (!stored.scale.defined() && stored.rotation == 0) return values.to(dtype);
  values = values.to(at::kFloat);
  if (stored.scale.defined()) values = scaled(values, stored);
  if (stored.rotation > 1) values = rotated(values, stored.rotation);
  return values.to(dtype);
}

}  // namespace t2v::weights
