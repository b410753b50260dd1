#include "ops/conv2d.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cudnn_convolution.h>

#include "core/check.h"
#include "ops/op_timer.h"

namespace t2v::ops {

Conv2d::Conv2d(const at::Tensor& weight, at::ScalarType dtype, at::Device device) {
  T2V_ASSERT(weight.dim() == 4 && weight.scalar_type() == at::kFloat && weight.is_cpu());
  const int64_t missing = padded(weight.size(0)) - weight.size(0);
  weight_ = at::constant_pad_nd(weight, {0, 0, 0, 0, 0, 0, 0, missing})
                .to(device, dtype)
                .contiguous(at::MemoryFormat::ChannelsLast);
}

void Conv2d::run(const at::Tensor& in, const at::Tensor& out) const {
  T2V_ASSERT(in.dim() == 4 && out.dim() == 4 && in.is_contiguous() && out.is_contiguous());
  T2V_ASSERT(in.scalar_type() == weight_.scalar_type() && out.scalar_type() == in.scalar_type());
  T2V_ASSERT(in.size(0) == out.size(0) && in.size(3) == weight_.size(1) &&
             out.size(3) == weight_.size(0));
  T2V_ASSERT(in.size(1) == out.size(1) + weight_.size(2) - 1 &&
             in.size(2) == out.size(2) + weight_.size(3) - 1);
  const TimedOp timed("conv2d", in,
                      product_flop(out.numel(), weight_.numel() / weight_.size(0), 1));
  const at::Tensor pictures = in.permute({0, 3, 1, 2});
  at::Tensor products = out.permute({0, 3, 1, 2});
  if (in.is_cuda()) {
    at::cudnn_convolution_out(products, pictures, weight_, {0, 0}, {1, 1}, {1, 1}, 1,
                              /*benchmark=*/false, /*deterministic=*/true, /*allow_tf32=*/false);
  } else {
    products.copy_(at::conv2d(pictures, weight_));
  }
}

}  // namespace t2v::ops
