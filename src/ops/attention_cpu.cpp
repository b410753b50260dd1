#include "ops/attention_cpu.h"

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "core/check.h"
#include "ops/attention_bf16.h"
#include "ops/attention_int8_reference.h"
#include "ops/attention_reference.h"

namespace t2v::ops {
namespace {

// [N, L, D] to [L, N*D]
at::Tensor rows_of(const at::Tensor& out) {
  return out.transpose(0, 1).reshape({out.size(1), out.size(0) * out.size(2)});
}

at::Tensor libtorch_attention(const AttentionInputs& in, const at::Tensor& lse) {
  const at::Tensor q = in.q.unsqueeze(0);
  const at::Tensor k = in.k.unsqueeze(0);
  const at::Tensor v = in.v.unsqueeze(0);
  if (!lse.defined()) {
    std::optional<at::Tensor> mask;
    if (in.key_bias.defined())
      mask = in.key_bias.view({1, 1, 1, -1}).expand({1, 1, q.size(2), k.size(2)});
    return rows_of(at::scaled_dot_product_attention(q, k, v, mask).squeeze(0));
  }
  T2V_ASSERT(!in.key_bias.defined());
  const auto [out, sums] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v);
  lse.copy_(sums.squeeze(0));
  return rows_of(out.squeeze(0));
}

const uint16_t* words(const at::Tensor& x) {
  return static_cast<const uint16_t*>(x.const_data_ptr());
}

at::Tensor own_attention(const AttentionInputs& in, const at::Tensor& lse) {
  const auto dense = [](const at::Tensor& x) { return x.stride(2) == 1 ? x : x.contiguous(); };
  const at::Tensor q = dense(in.q);
  const at::Tensor k = dense(in.k);
  const at::Tensor v = dense(in.v);
  const at::Tensor out = at::empty({q.size(1), q.size(0) * q.size(2)}, q.options());
  const at::Tensor bias = in.key_bias.defined() ? in.key_bias.contiguous() : in.key_bias;
  avx512bf16::attention({.q = words(q),
                         .q_head_stride = q.stride(0),
                         .q_row_stride = q.stride(1),
                         .k = words(k),
                         .k_head_stride = k.stride(0),
                         .k_row_stride = k.stride(1),
                         .v = words(v),
                         .v_head_stride = v.stride(0),
                         .v_row_stride = v.stride(1),
                         .key_bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                         .out = static_cast<uint16_t*>(out.mutable_data_ptr()),
                         .lse = lse.defined() ? lse.mutable_data_ptr<float>() : nullptr,
                         .num_heads = q.size(0),
                         .num_queries = q.size(1),
                         .num_keys = k.size(1),
                         .head_size = q.size(2)});
  return out;
}

bool fits_own(at::ScalarType dtype, int64_t head_size) {
  return dtype == at::kBFloat16 && head_size % 2 == 0;
}

}  // namespace

void require_cpu_attention(AttentionBackend backend, at::ScalarType dtype, int64_t head_size) {
  T2V_REQUIRE(backend != AttentionBackend::kCudnn, ErrorKind::kDevice,
              "attention back end 'cudnn' needs a CUDA device; try --attention auto");
  if (backend != AttentionBackend::kOwn) return;
  T2V_REQUIRE(fits_own(dtype, head_size) && avx512bf16::is_supported(), ErrorKind::kDevice,
              "attention back end 'own' on the CPU needs bf16, an even head size and a processor "
              "with AVX512-BF16; try --attention auto, or --dtype bf16");
}

at::Tensor cpu_attention(const AttentionInputs& in, AttentionBackend backend,
                         const at::Tensor& lse) {
  const at::ScalarType dtype = in.q.scalar_type();
  const int64_t head_size = in.q.size(2);
  T2V_ASSERT(!lse.defined() || (lse.is_contiguous() && lse.scalar_type() == at::kFloat &&
                                lse.size(0) == in.q.size(0) && lse.size(1) == in.q.size(1)));
  require_cpu_attention(backend, dtype, head_size);
  if (backend == AttentionBackend::kReference) return reference::attention(in, {}, lse);
  if (backend == AttentionBackend::kOwnInt8 && !in.key_bias.defined())
    return reference::attention_int8(in, lse);
  const bool any = backend == AttentionBackend::kAuto || backend == AttentionBackend::kOwnInt8;
  const bool own = backend == AttentionBackend::kOwn ||
                   (any && avx512bf16::is_preferred() && fits_own(dtype, head_size));
  return own ? own_attention(in, lse) : libtorch_attention(in, lse);
}

}  // namespace t2v::ops
