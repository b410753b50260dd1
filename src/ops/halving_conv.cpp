#include "ops/halving_conv.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>

#include "core/check.h"

namespace t2v::ops {

HalvingConv::HalvingConv(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype,
                         at::Device device)
    : weight_(weight.to(device, dtype).contiguous(at::MemoryFormat::ChannelsLast)),
      bias_(bias.to(device, dtype)) {
  T2V_ASSERT(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3);
}

at::Tensor HalvingConv::run(const at::Tensor& x) const {
  T2V_ASSERT(x.dim() == 4 && x.is_contiguous() && x.size(1) % 2 == 0 && x.size(2) % 2 == 0 &&
             x.size(3) == weight_.size(1));
  const at::Tensor bordered = at::constant_pad_nd(x, {0, 0, 0, 1, 0, 1});
  return at::conv2d(bordered.permute({0, 3, 1, 2}), weight_, bias_, /*stride=*/2)
      .permute({0, 2, 3, 1})
      .contiguous();
}

}  // namespace t2v::ops
