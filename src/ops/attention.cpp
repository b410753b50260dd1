#include "ops/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "core/check.h"
#include "ops/attention_bf16.h"
#include "ops/attention_choice.h"
#include "ops/attention_cuda.h"
#include "ops/attention_reference.h"
#include "ops/device.h"

namespace t2v::ops {
namespace {

struct Named {
  const char* name;
  AttentionBackend backend;
};

constexpr Named kNames[] = {{"auto", AttentionBackend::kAuto},
                            {"cudnn", AttentionBackend::kCudnn},
                            {"flash", AttentionBackend::kFlash},
                            {"own", AttentionBackend::kOwn},
                            {"reference", AttentionBackend::kReference}};

at::Tensor libtorch_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& key_bias) {
  std::optional<at::Tensor> mask;
  if (key_bias.defined()) mask = key_bias.view({1, 1, 1, -1}).expand({1, 1, q.size(1), k.size(1)});
  const at::Tensor out =
      at::scaled_dot_product_attention(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), mask);
  return out.squeeze(0).transpose(0, 1).reshape({q.size(1), q.size(0) * q.size(2)});
}

const uint16_t* words(const at::Tensor& x) {
  return static_cast<const uint16_t*>(x.const_data_ptr());
}

at::Tensor own_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const at::Tensor& key_bias) {
  const at::Tensor out = at::empty({q.size(1), q.size(0) * q.size(2)}, q.options());
  const at::Tensor bias = key_bias.defined() ? key_bias.contiguous() : key_bias;
  const at::Tensor keys = k.contiguous();
  const at::Tensor values = v.contiguous();
  avx512bf16::attention({.q = words(q),
                         .q_head_stride = q.stride(0),
                         .q_row_stride = q.stride(1),
                         .k = words(keys),
                         .v = words(values),
                         .key_bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                         .out = static_cast<uint16_t*>(out.mutable_data_ptr()),
                         .num_heads = q.size(0),
                         .num_queries = q.size(1),
                         .num_keys = k.size(1),
                         .head_size = q.size(2)});
  return out;
}

bool fits_cpu_own(at::ScalarType dtype, int64_t head_size) {
  return dtype == at::kBFloat16 && head_size % 2 == 0;
}

void require_cpu(AttentionBackend backend, at::ScalarType dtype, int64_t head_size) {
  T2V_REQUIRE(backend != AttentionBackend::kCudnn, ErrorKind::kDevice,
              "attention back end 'cudnn' needs a CUDA device; try --attention auto");
  if (backend != AttentionBackend::kOwn) return;
  T2V_REQUIRE(fits_cpu_own(dtype, head_size) && avx512bf16::is_supported(), ErrorKind::kDevice,
              "attention back end 'own' on the CPU needs bf16, an even head size and a processor "
              "with AVX512-BF16; try --attention auto, or --dtype bf16");
}

void require_cuda(CudaAttention kernel, const char* name, const AttentionShape& shape) {
  T2V_REQUIRE(can_run(kernel, shape), ErrorKind::kDevice, "attention back end '", name,
              "' takes bf16 and fp16, head size ",
              kernel == CudaAttention::kOwn     ? "64 or 128"
              : kernel == CudaAttention::kCudnn ? "a multiple of 8 up to 128"
                                                : "a multiple of 8 up to 256",
              ", from compute capability 8.0 on; here: ", shape.dtype, ", head size ",
              shape.head_size, ", compute capability ", shape.capability / 10, ".",
              shape.capability % 10, "; try --attention auto");
}

}  // namespace

std::optional<AttentionBackend> attention_backend(std::string_view name) {
  for (const Named& entry : kNames) {
    if (name == entry.name) return entry.backend;
  }
  return std::nullopt;
}

const char* attention_name(AttentionBackend backend) {
  for (const Named& entry : kNames) {
    if (backend == entry.backend) return entry.name;
  }
  return "unknown";
}

void require_attention(AttentionBackend backend, at::Device device, at::ScalarType dtype,
                       int64_t head_size) {
  if (device.is_cpu()) return require_cpu(backend, dtype, head_size);
  if (backend == AttentionBackend::kAuto || backend == AttentionBackend::kReference) return;
  const AttentionShape shape{device_facts(device).capability, dtype, head_size, 0};
  const auto kernel = cuda_attention_kernel(backend, shape, /*has_key_bias=*/false);
  require_cuda(kernel, attention_name(backend), shape);
}

at::Tensor attention(at::Tensor q, at::Tensor k, at::Tensor v, const at::Tensor& key_bias,
                     AttentionBackend backend) {
  T2V_ASSERT(q.dim() == 3 && k.dim() == 3 && k.sizes() == v.sizes() && q.size(0) == k.size(0) &&
             q.size(2) == k.size(2));
  T2V_ASSERT(!key_bias.defined() ||
             (key_bias.numel() == k.size(1) && key_bias.scalar_type() == at::kFloat));
  T2V_ASSERT(q.stride(2) == 1);
  if (q.is_cuda())
    return cuda_attention({std::move(q), std::move(k), std::move(v), key_bias, {}, {}}, backend);
  require_cpu(backend, q.scalar_type(), q.size(2));
  const bool own = backend == AttentionBackend::kOwn ||
                   (backend == AttentionBackend::kAuto && avx512bf16::is_preferred() &&
                    fits_cpu_own(q.scalar_type(), q.size(2)));
  if (own) return own_attention(q, k, v, key_bias);
  if (backend == AttentionBackend::kReference)
    return reference::attention({q, k, v, key_bias, {}, {}});
  return libtorch_attention(q, k, v, key_bias);
}

}  // namespace t2v::ops
