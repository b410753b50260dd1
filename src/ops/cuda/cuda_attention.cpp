#include "ops/cuda/cuda_attention.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "core/check.h"
#include "ops/launch.h"
#include "t2v/kernels/flash_attention.h"
#include "t2v/kernels/launch_shape.h"

namespace t2v::ops::cuda {
namespace {

constexpr int64_t kAlignedElements = 8;  // 16 bytes

// The stride of a dimension of size 1 says nothing in ATen; 0 and the row itself stand in.
int64_t head_stride(const at::Tensor& x) { return x.size(0) > 1 ? x.stride(0) : 0; }
int64_t rows_stride(const at::Tensor& x) { return x.size(1) > 1 ? x.stride(1) : x.size(2); }

// x [N, L, D] as the kernel takes it: itself, or a copy.
at::Tensor aligned(const at::Tensor& x) {
  const bool fits = x.stride(2) == 1 && rows_stride(x) >= x.size(2) &&
                    rows_stride(x) % kAlignedElements == 0 &&
                    head_stride(x) % kAlignedElements == 0 && head_stride(x) >= 0 &&
                    kernels::address_of(x.const_data_ptr()) % 16 == 0;
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

}  // namespace

at::Tensor attention(const AttentionInputs& in) {
  require_same_device(in.q, in.k);
  require_same_device(in.q, in.v);
  T2V_ASSERT(in.k.scalar_type() == in.q.scalar_type() && in.v.scalar_type() == in.q.scalar_type());
  const Launch launch("flash_attention", in.q);
  const at::Tensor q = aligned(in.q);
  const at::Tensor k = aligned(in.k);
  const at::Tensor v = aligned(in.v);
  const at::Tensor bias = in.key_bias.defined() ? in.key_bias.contiguous() : in.key_bias;
  if (bias.defined()) require_same_device(in.q, bias);
  const at::Tensor out = at::empty({q.size(1), q.size(0) * q.size(2)}, q.options());
  kernels::FlashAttentionArgs args;
  args.q = q.const_data_ptr();
  args.k = k.const_data_ptr();
  args.v = v.const_data_ptr();
  args.out = out.mutable_data_ptr();
  args.key_bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
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
  args.dtype = kernel_dtype(q.scalar_type());
  set_list(args, in);
  launch.check(kernels::flash_attention(args, launch.stream()));
  return out;
}

}  // namespace t2v::ops::cuda
