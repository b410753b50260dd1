#include "ops/attention_cuda.h"

#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <c10/util/Exception.h>

#include "core/check.h"
#include "ops/attention_int8_reference.h"
#include "ops/attention_reference.h"
#include "ops/backend.h"
#include "ops/device.h"

namespace t2v::ops {
namespace {

std::optional<CudaAttention> kernel_named(AttentionBackend backend) {
  switch (backend) {
    case AttentionBackend::kCudnn:
      return CudaAttention::kCudnn;
    case AttentionBackend::kFlash:
      return CudaAttention::kFlash;
    case AttentionBackend::kOwn:
      return CudaAttention::kOwn;
    case AttentionBackend::kOwnInt8:
      return CudaAttention::kOwnInt8;
    case AttentionBackend::kReference:
      return CudaAttention::kReference;
    case AttentionBackend::kAuto:
      break;
  }
  return std::nullopt;
}

// LibTorch's kernels take and give [1, N, L, D]. Their refusals become ours, with a way out.
at::Tensor libtorch_attention(CudaAttention kernel, const AttentionInputs& in) {
  const at::Tensor q = in.q.unsqueeze(0);
  const at::Tensor k = in.k.unsqueeze(0);
  const at::Tensor v = in.v.unsqueeze(0);
  const char* name = "efficient";
  try {
    if (kernel == CudaAttention::kCudnn) {
      name = "cudnn";
      return std::get<0>(at::_scaled_dot_product_cudnn_attention(q, k, v, std::nullopt,
                                                                 /*compute_log_sumexp=*/false));
    }
    if (kernel == CudaAttention::kFlash) {
      name = "flash";
      return std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v));
    }
    return std::get<0>(at::_scaled_dot_product_efficient_attention(q, k, v, std::nullopt,
                                                                   /*compute_log_sumexp=*/false));
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const c10::Error& error) {
    throw Error(ErrorKind::kDevice, core::str("attention back end '", name,
                                              "' failed: ", error.what_without_backtrace(),
                                              "; try --attention own, or --attention reference"));
  }
}

}  // namespace

CudaAttention cuda_attention_kernel(AttentionBackend backend, const AttentionShape& shape,
                                    bool has_key_bias) {
  const std::optional<CudaAttention> named = kernel_named(backend);
  if (has_key_bias) {
    const bool own = named != CudaAttention::kReference && can_run(CudaAttention::kOwn, shape) &&
                     op_table(at::DeviceType::CUDA).attention != nullptr;
    return own ? CudaAttention::kOwn : CudaAttention::kReference;
  }
  return named ? *named : choose_attention(shape).kernel;
}

at::Tensor cuda_attention(AttentionInputs in, AttentionBackend backend) {
  const at::Device device = in.q.device();
  const AttentionShape shape{device_facts(device).capability, in.q.scalar_type(), in.q.size(2),
                             in.k.size(1)};
  const CudaAttention kernel = cuda_attention_kernel(backend, shape, in.key_bias.defined());
  if (kernel == CudaAttention::kReference) return reference::attention(in);
  if (!can_run(kernel, shape)) require_attention(backend, device, in.q.scalar_type(), in.q.size(2));
  const OpTable& table = op_table(at::DeviceType::CUDA);
  if (kernel == CudaAttention::kOwnInt8)
    return table.attention_int8 ? table.attention_int8(std::move(in))
                                : reference::attention_int8(in);
  if (kernel == CudaAttention::kOwn) {
    T2V_REQUIRE(table.attention != nullptr, ErrorKind::kDevice,
                "attention back end 'own' is one of the fused ops, and T2V_BACKEND=reference turns "
                "them off; try --attention reference");
    return table.attention(in);
  }
  const at::Tensor out = libtorch_attention(kernel, in).squeeze(0);  // [N, L, D]
  in = {};                                                           // before it is copied
  return out.transpose(0, 1).reshape({out.size(1), out.size(0) * out.size(2)});
}

}  // namespace t2v::ops
