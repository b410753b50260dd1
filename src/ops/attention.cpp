#include "ops/attention.h"

#include "core/check.h"
#include "ops/attention_choice.h"
#include "ops/attention_cpu.h"
#include "ops/attention_cuda.h"
#include "ops/device.h"
#include "ops/op_timer.h"

namespace t2v::ops {
namespace {

struct Named {
  const char* name;
  AttentionBackend backend;
};

constexpr Named kNames[] = {
    {"auto", AttentionBackend::kAuto},        {"cudnn", AttentionBackend::kCudnn},
    {"flash", AttentionBackend::kFlash},      {"own", AttentionBackend::kOwn},
    {"own-int8", AttentionBackend::kOwnInt8}, {"reference", AttentionBackend::kReference}};

void require_cuda(CudaAttention kernel, const char* name, const AttentionShape& shape) {
  T2V_REQUIRE(can_run(kernel, shape), ErrorKind::kDevice, "attention back end '", name,
              "' takes bf16 and fp16, head size ",
              kernel == CudaAttention::kOwn || kernel == CudaAttention::kOwnInt8 ? "64 or 128"
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
  if (device.is_cpu()) return require_cpu_attention(backend, dtype, head_size);
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
  const bool cross = key_bias.defined() || q.size(1) != k.size(1);
  const TimedOp timed(cross ? "cross_attention" : "self_attention", q,
                      attention_flop(q, k.size(1)));
  if (q.is_cuda())
    return cuda_attention({std::move(q), std::move(k), std::move(v), key_bias, {}, {}}, backend);
  return cpu_attention({std::move(q), std::move(k), std::move(v), key_bias, {}, {}}, backend);
}

}  // namespace t2v::ops
