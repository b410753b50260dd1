#include "ops/conv3d.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv3d.h>

#include "core/check.h"
#include "ops/backend.h"
#include "ops/op_timer.h"

namespace t2v::ops {
namespace {

bool has_amx_bf16() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  return __builtin_cpu_supports("amx-bf16") != 0;
#else
  return false;
#endif
}

direct::VideoView view_of(const at::Tensor& video) {
  return {.data = video.data_ptr(),
          .frame = video.stride(0),
          .row = video.stride(1),
          .pixel = video.stride(2),
          .is_bf16 = video.scalar_type() == at::kBFloat16};
}

}  // namespace

ConvBackend choose_conv_backend(at::ScalarType dtype, int64_t in_channels, at::Device device) {
  if (!device.is_cpu() || !direct::available(dtype, in_channels)) return ConvBackend::kAten;
  if (dtype == at::kBFloat16 && has_amx_bf16()) return ConvBackend::kAten;
  return &op_table(at::kCPU) == &reference_ops() ? ConvBackend::kAten : ConvBackend::kDirect;
}

Conv3d::Conv3d(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype,
               at::Device device)
    : Conv3d(weight, bias, dtype, device, choose_conv_backend(dtype, weight.size(1), device)) {}

Conv3d::Conv3d(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype,
               at::Device device, ConvBackend backend)
    : backend_(backend),
      dtype_(dtype),
      in_channels_(weight.size(1)),
      out_channels_(weight.size(0)),
      kernel_{weight.size(2), weight.size(3), weight.size(4)} {
  T2V_ASSERT(weight.dim() == 5 && weight.scalar_type() == at::kFloat && weight.is_cpu());
  T2V_ASSERT(bias.sizes() == at::IntArrayRef({out_channels_}) && bias.scalar_type() == at::kFloat);
  T2V_ASSERT(dtype == at::kFloat || dtype == at::kBFloat16);
  if (backend == ConvBackend::kDirect) {
    T2V_ASSERT(direct::available(dtype, in_channels_) && device.is_cpu());
    packed_ = direct::pack(weight, bias, dtype);
    return;
  }
  weight_ = weight.to(device, dtype);
  // Frames of a kernel without extent in time are a batch of pictures.
  weight_ = kernel_[0] == 1 ? weight_.squeeze(2).contiguous(at::MemoryFormat::ChannelsLast)
                            : weight_.contiguous(at::MemoryFormat::ChannelsLast3d);
  bias_ = bias.to(device, dtype);
}

void Conv3d::check(const at::Tensor& in, const at::Tensor& out, const at::Tensor& residual) const {
  T2V_ASSERT(in.dim() == 4 && out.dim() == 4 && in.scalar_type() == dtype_);
  T2V_ASSERT(in.size(3) == in_channels_ && out.size(3) == out_channels_);
  for (int64_t i = 0; i < 3; ++i) T2V_ASSERT(in.size(i) == out.size(i) + kernel_[i] - 1);
  T2V_ASSERT(in.stride(3) == 1 && in.stride(2) == in_channels_ && out.stride(3) == 1);
  T2V_ASSERT(out.scalar_type() == dtype_ || out.scalar_type() == at::kFloat);
  if (residual.defined())
    T2V_ASSERT(residual.sizes() == out.sizes() && residual.scalar_type() == out.scalar_type() &&
               residual.stride(3) == 1);
}

void Conv3d::run(const at::Tensor& in, const at::Tensor& out, const at::Tensor& residual) const {
  check(in, out, residual);
  const int64_t taps = kernel_[0] * kernel_[1] * kernel_[2];
  const TimedOp timed("conv3d", in, product_flop(out.numel(), in_channels_ * taps, 1));
  if (backend_ == ConvBackend::kAten) return run_aten(in, out, residual);
  const direct::OutputSize size{.frames = out.size(0), .height = out.size(1), .width = out.size(2)};
  if (residual.defined()) {
    const direct::VideoView addend = view_of(residual);
    direct::run(packed_, view_of(in), view_of(out), &addend, size);
  } else {
    direct::run(packed_, view_of(in), view_of(out), nullptr, size);
  }
}

void Conv3d::run_aten(const at::Tensor& in, const at::Tensor& out,
                      const at::Tensor& residual) const {
  at::Tensor y;  // [T, H, W, O]
  if (kernel_[0] == 1) {
    y = at::conv2d(in.permute({0, 3, 1, 2}), weight_, bias_).permute({0, 2, 3, 1});
  } else {
    y = at::conv3d(in.permute({3, 0, 1, 2}).unsqueeze(0), weight_, bias_)
            .squeeze(0)
            .permute({1, 2, 3, 0});
  }
  if (residual.defined()) y = y + residual;
  out.copy_(y);
}

}  // namespace t2v::ops
