#include "ops/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "core/check.h"
#include "ops/attention_bf16.h"

namespace t2v::ops {
namespace {

at::Tensor aten_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
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

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& key_bias, AttentionBackend backend) {
  T2V_ASSERT(q.dim() == 3 && k.dim() == 3 && k.sizes() == v.sizes() && q.size(0) == k.size(0) &&
             q.size(2) == k.size(2));
  T2V_ASSERT(!key_bias.defined() ||
             (key_bias.numel() == k.size(1) && key_bias.scalar_type() == at::kFloat));
  T2V_ASSERT(q.stride(2) == 1);
  const bool fits = q.is_cpu() && q.scalar_type() == at::kBFloat16 && q.size(2) % 2 == 0;
  if (backend == AttentionBackend::kOwn) {
    T2V_REQUIRE(fits && avx512bf16::is_supported(), ErrorKind::kDevice,
                "attention back end 'own' needs bf16 and a processor with AVX512-BF16");
    return own_attention(q, k, v, key_bias);
  }
  if (backend == AttentionBackend::kAuto && fits && avx512bf16::is_preferred())
    return own_attention(q, k, v, key_bias);
  return aten_attention(q, k, v, key_bias);
}

}  // namespace t2v::ops
