// Brings convolution weights into the order in which the direct loops read them.
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "core/check.h"
#include "ops/conv3d_direct.h"

namespace t2v::ops::direct {
namespace {

constexpr int64_t kWide = 32;
constexpr int64_t kNarrow = 16;

// parts fp32 [O, part, kh, kw, C] -> one flat tensor of groups.
at::Tensor pack_groups(const at::Tensor& parts, at::ScalarType dtype) {
  const int64_t pair = dtype == at::kBFloat16 ? 2 : 1;
  const int64_t outputs = parts.size(0), num_parts = parts.size(1), rows = parts.size(2);
  const at::Tensor flat = parts.reshape({outputs, num_parts, rows, -1});
  std::vector<at::Tensor> groups;
  for (int64_t first = 0; first < outputs; first += kWide) {
    const int64_t count = std::min(kWide, outputs - first);
    const int64_t width = count > kNarrow ? kWide : kNarrow;
    const at::Tensor group =
        at::constant_pad_nd(flat.narrow(0, first, count), {0, 0, 0, 0, 0, 0, 0, width - count});
    groups.push_back(group.reshape({width, num_parts, rows, -1, pair})
                         .permute({1, 2, 3, 0, 4})
                         .to(dtype)
                         .flatten());
  }
  return at::cat(groups).contiguous();
}

}  // namespace

PackedWeights pack(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype) {
  T2V_ASSERT(weight.dim() == 5 && weight.is_cpu() && weight.scalar_type() == at::kFloat);
  PackedWeights packed;
  packed.out_channels = weight.size(0);
  packed.in_channels = weight.size(1);
  packed.kernel_frames = weight.size(2);
  packed.kernel_height = weight.size(3);
  packed.kernel_width = weight.size(4);
  packed.is_bf16 = dtype == at::kBFloat16;
  const int64_t outputs = packed.out_channels;
  const int64_t padded = (outputs + kWide - 1) / kWide * kWide;
  packed.bias = at::zeros({padded});
  if (bias.defined()) packed.bias.narrow(0, 0, outputs).copy_(bias);
  const at::Tensor parts = weight.permute({0, 2, 3, 4, 1});
  packed.plain = pack_groups(parts, dtype);
  if (packed.kernel_frames != 3 || packed.kernel_height == 1 || packed.kernel_width == 1)
    return packed;
  const auto g = parts.unbind(1);
  const at::Tensor outer = g[0] + g[2];
  packed.winograd =
      pack_groups(at::stack({g[0], (outer + g[1]) * 0.5, (outer - g[1]) * 0.5, g[2]}, 1), dtype);
  return packed;
}

}  // namespace t2v::ops::direct
