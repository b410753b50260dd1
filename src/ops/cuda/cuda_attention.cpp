#include "ops/cuda/cuda_attention.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "core/check.h"
#include "ops/launch.h"
#include "t2v/kernels/flash_attention.h"
#include "t2v/kernels/flash_attention_int8.h"
#include "t2v/kernels/flash_attention_int8_kv.h"
#include "t2v/kernels/launch_shape.h"
#include "t2v/kernels/quantise_heads.h"

namespace t2v::ops::cuda {
namespace {

constexpr double kLog2E = 1.4426950408889634;

// The stride of a dimension of size 1 says nothing in ATen; 0 and the row itself stand in.
int64_t head_stride(const at::Tensor& x) { return x.size(0) > 1 ? x.stride(0) : 0; }
int64_t rows_stride(const at::Tensor& x) { return x.size(1) > 1 ? x.stride(1) : x.size(2); }

// x [N, L, D] as the kernel takes it: itself, or a copy.
at::Tensor aligned(const at::Tensor& x) {
  const int64_t access = 16 / x.element_size();
  const bool fits = x.stride(2) == 1 && rows_stride(x) >= x.size(2) &&
                    rows_stride(x) % access == 0 && head_stride(x) % access == 0 &&
                    head_stride(x) >= 0 && kernels::address_of(x.const_data_ptr()) % 16 == 0;
  return fits ? x : x.clone(at::MemoryFormat::Contiguous);
}

void require_same_device(const at::Tensor& q, const at::Tensor& other) {
  T2V_ASSERT(other.device() == q.device());
}

void set_list(kernels::FlashAttentionArgs& args, const AttentionInputs& in) {
  if (!in.lut.defined()) return;
  const int64_t blocks = kernels::divide_up(in.q.size(1), kernels::kQueryBlock);
  T2V_ASSERT(in.lut.dim() == 3 && in.lut.scalar_type() == at::kInt && in.lut.is_contiguous() &&
             in.counts.scalar_type() == at::kInt && in.counts.is_contiguous() &&
             in.lut.size(1) == blocks && in.counts.dim() == 2 && in.counts.size(1) == blocks &&
             in.counts.size(0) == in.lut.size(0) &&
             (in.lut.size(0) == 1 || in.lut.size(0) == in.q.size(0)));
  require_same_device(in.q, in.lut);
  require_same_device(in.q, in.counts);
  args.list.lut = in.lut.const_data_ptr<int32_t>();
  args.list.counts = in.counts.const_data_ptr<int32_t>();
  args.list.max_blocks = in.lut.size(2);
  args.list.scope =
      in.lut.size(0) == 1 ? kernels::ListScope::kSharedByHeads : kernels::ListScope::kPerHead;
}

// Sizes, strides and pointers. q, k and v are aligned().
kernels::FlashAttentionArgs arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const at::Tensor& out) {
  kernels::FlashAttentionArgs args;
  args.q = q.const_data_ptr();
  args.k = k.const_data_ptr();
  args.v = v.const_data_ptr();
  args.out = out.mutable_data_ptr();
  args.q_head_stride = head_stride(q);
  args.q_row_stride = rows_stride(q);
  args.k_head_stride = head_stride(k);
  args.k_row_stride = rows_stride(k);
  args.v_head_stride = head_stride(v);
  args.v_row_stride = rows_stride(v);
  args.out_head_stride = q.size(2);
  args.out_row_stride = q.size(0) * q.size(2);
  args.num_heads = q.size(0);
  args.num_queries = q.size(1);
  args.num_keys = k.size(1);
  args.head_size = q.size(2);
  args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.size(2))));
  args.dtype = kernel_dtype(out.scalar_type());
  return args;
}

at::Tensor empty_rows(const at::Tensor& q) {
  return at::empty({q.size(1), q.size(0) * q.size(2)}, q.options());
}

at::Tensor empty_floats(const at::Tensor& like, at::IntArrayRef sizes) {
  return at::empty(sizes, like.options().dtype(at::kFloat));
}

kernels::HeadRows head_rows(const at::Tensor& x) {
  return {
      x.const_data_ptr(),           head_stride(x), rows_stride(x), x.size(0), x.size(1), x.size(2),
      kernel_dtype(x.scalar_type())};
}

struct QuantisedHeads {
  at::Tensor values;  // int8 [N, L, D]
  at::Tensor scale;   // fp32 [N, groups]
};

QuantisedHeads quantise(const Launch& launch, const at::Tensor& x, const at::Tensor& mean,
                        int group_rows, double factor) {
  const QuantisedHeads to{at::empty(x.sizes(), x.options().dtype(at::kChar)),
                          empty_floats(x, {x.size(0), kernels::divide_up(x.size(1), group_rows)})};
  kernels::QuantiseHeadsArgs args;
  args.rows = head_rows(x);
  args.mean = mean.defined() ? mean.const_data_ptr<float>() : nullptr;
  args.out = to.values.mutable_data_ptr<int8_t>();
  args.scale = to.scale.mutable_data_ptr<float>();
  args.group_rows = group_rows;
  args.factor = static_cast<float>(factor);
  launch.check(kernels::quantise_heads(args, launch.stream()));
  return to;
}

// Keys without the mean of all keys.
QuantisedHeads quantise_smoothed(const Launch& launch, const at::Tensor& k) {
  const int64_t parts = kernels::divide_up(k.size(1), kernels::kMeanRows);
  const at::Tensor partial = empty_floats(k, {k.size(0), parts, k.size(2)});
  const at::Tensor mean = empty_floats(k, {k.size(0), k.size(2)});
  launch.check(kernels::key_means(
      {head_rows(k), partial.mutable_data_ptr<float>(), mean.mutable_data_ptr<float>()},
      launch.stream()));
  return quantise(launch, k, mean, kernels::kInt8KeyGroup, 1.0);
}

// Scales of a cache as the kernel takes them: dense but for the heads.
at::Tensor dense_scales(const at::Tensor& scale) {
  const bool dense =
      scale.stride(2) == 1 && (scale.size(1) == 1 || scale.stride(1) == scale.size(2));
  return dense ? scale : scale.contiguous();
}

void require_types(const AttentionInputs& in) {
  require_same_device(in.q, in.k);
  require_same_device(in.q, in.v);
  T2V_ASSERT(in.k.scalar_type() == in.q.scalar_type() && in.v.scalar_type() == in.q.scalar_type());
}

}  // namespace

at::Tensor attention(const AttentionInputs& in) {
  require_types(in);
  const Launch launch("flash_attention", in.q);
  const at::Tensor q = aligned(in.q);
  const at::Tensor k = aligned(in.k);
  const at::Tensor v = aligned(in.v);
  const at::Tensor bias = in.key_bias.defined() ? in.key_bias.contiguous() : in.key_bias;
  if (bias.defined()) require_same_device(in.q, bias);
  const at::Tensor out = empty_rows(q);
  kernels::FlashAttentionArgs args = arguments(q, k, v, out);
  args.key_bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  set_list(args, in);
  launch.check(kernels::flash_attention(args, launch.stream()));
  return out;
}

at::Tensor attention_int8(AttentionInputs in) {
  require_types(in);
  T2V_ASSERT(!in.key_bias.defined() && !in.lut.defined());
  const Launch launch("flash_attention_int8", in.q);
  const double factor = kLog2E / std::sqrt(static_cast<double>(in.q.size(2)));
  const QuantisedHeads q = quantise(launch, aligned(in.q), {}, kernels::kInt8QueryGroup, factor);
  const auto options = in.q.options();
  in.q = at::Tensor();
  const QuantisedHeads k = quantise_smoothed(launch, aligned(in.k));
  in.k = at::Tensor();
  const at::Tensor v = aligned(in.v);
  const at::Tensor out =
      at::empty({q.values.size(1), q.values.size(0) * q.values.size(2)}, options);
  launch.check(kernels::flash_attention_int8(
      {arguments(q.values, k.values, v, out), q.scale.const_data_ptr<float>(),
       k.scale.const_data_ptr<float>()},
      launch.stream()));
  return out;
}

at::Tensor cached_attention(const AttentionInputs& in, const Int8KeyValues& window) {
  require_types(in);
  require_same_device(in.q, window.k);
  const Launch launch("flash_attention_int8_kv", in.q);
  const at::Tensor q = aligned(in.q);
  const at::Tensor out = empty_rows(q);
  const at::Tensor lse = empty_floats(q, {q.size(0), q.size(1)});
  const bool has_others = in.k.size(1) > 0;
  if (has_others) {
    const at::Tensor k = aligned(in.k);
    const at::Tensor v = aligned(in.v);
    kernels::FlashAttentionArgs others = arguments(q, k, v, out);
    others.lse = lse.mutable_data_ptr<float>();
    launch.check(kernels::flash_attention(others, launch.stream()));
  }
  const at::Tensor k = aligned(window.k);
  const at::Tensor v = aligned(window.v);
  const at::Tensor k_scale = dense_scales(window.k_scale);
  const at::Tensor v_scale = dense_scales(window.v_scale);
  kernels::FlashAttentionInt8KvArgs args;
  args.attention = arguments(q, k, v, out);
  args.k_scale = k_scale.const_data_ptr();
  args.v_scale = v_scale.const_data_ptr();
  args.k_scale_head_stride = head_stride(k_scale);
  args.v_scale_head_stride = head_stride(v_scale);
  args.other_lse = has_others ? lse.const_data_ptr<float>() : nullptr;
  launch.check(kernels::flash_attention_int8_kv(args, launch.stream()));
  return out;
}

}  // namespace t2v::ops::cuda
