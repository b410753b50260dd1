// The CUDA back end: the fused ops on our own kernels, as a plugin (libt2v_cuda.so) that is loaded
// only where there is a driver. Shapes and dtypes are checked by ops/norm.h before.
#include <ATen/ops/empty.h>
#include <cuda_runtime_api.h>

#include "core/check.h"
#include "ops/backend.h"
#include "ops/cuda/cuda_attention.h"
#include "ops/cuda/cuda_int8.h"
#include "ops/cuda/cuda_video.h"
#include "ops/launch.h"
#include "t2v/kernels/gate_residual.h"
#include "t2v/kernels/gate_residual_norm.h"
#include "t2v/kernels/layer_norm_modulate.h"
#include "t2v/kernels/qk_norm_rope.h"
#include "t2v/kernels/rms_norm.h"

namespace t2v::ops {
namespace {

void require_same_device(const at::Tensor& x, const at::Tensor& other) {
  T2V_ASSERT(other.device() == x.device() && other.is_contiguous());
}

struct RowVectors {
  kernels::Modulation kind;
  const at::Tensor& scale;
  const at::Tensor& shift;
};

at::Tensor run_layer_norm(const char* op, const at::Tensor& input, const RowVectors& vectors,
                          double eps, at::ScalarType out) {
  require_same_device(input, vectors.scale);
  require_same_device(input, vectors.shift);
  const Launch launch(op, input);
  const at::Tensor x = dense_rows(input);
  at::Tensor result = at::empty(x.sizes(), x.options().dtype(out));
  kernels::LayerNormModulateArgs args;
  args.x = x.const_data_ptr();
  args.out = result.mutable_data_ptr();
  args.scale = vectors.scale.const_data_ptr<float>();
  args.shift = vectors.shift.const_data_ptr<float>();
  args.rows = x.size(0);
  args.columns = x.size(1);
  args.x_row_stride = row_stride(x);
  args.out_row_stride = x.size(1);
  args.eps = static_cast<float>(eps);
  args.x_dtype = kernel_dtype(x.scalar_type());
  args.out_dtype = kernel_dtype(out);
  args.modulation = vectors.kind;
  launch.check(kernels::layer_norm_modulate(args, launch.stream()));
  return result;
}

at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale,
                               const at::Tensor& shift, double eps, at::ScalarType out) {
  return run_layer_norm("layer_norm_modulate", x, {kernels::Modulation::kScaleShift, scale, shift},
                        eps, out);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, at::ScalarType out) {
  return run_layer_norm("layer_norm", x, {kernels::Modulation::kAffine, weight, bias}, eps, out);
}

at::Tensor rms_norm(const at::Tensor& input, const at::Tensor& weight, double eps) {
  require_same_device(input, weight);
  const Launch launch("rms_norm", input);
  const at::Tensor x = dense_rows(input);
  at::Tensor result = at::empty(x.sizes(), x.options());
  kernels::RmsNormArgs args;
  args.x = x.const_data_ptr();
  args.out = result.mutable_data_ptr();
  args.weight = weight.const_data_ptr<float>();
  args.rows = x.size(0);
  args.columns = x.size(1);
  args.x_row_stride = row_stride(x);
  args.out_row_stride = x.size(1);
  args.eps = static_cast<float>(eps);
  args.dtype = kernel_dtype(x.scalar_type());
  launch.check(kernels::rms_norm(args, launch.stream()));
  return result;
}

kernels::RopeAxisTable axis_table(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                                  int64_t positions, int64_t pairs) {
  T2V_ASSERT(cos.dim() == 2 && cos.size(0) == positions && cos.size(1) == pairs);
  T2V_ASSERT(sin.sizes() == cos.sizes());
  require_same_device(x, cos);
  require_same_device(x, sin);
  if (pairs == 0) return {};
  return {cos.const_data_ptr<float>(), sin.const_data_ptr<float>()};
}

void qk_norm_rope(const QkNormRope& in, const QkvHeads& out) {
  require_same_device(in.qkv, in.norm_q);
  require_same_device(in.qkv, in.norm_k);
  const Launch launch("qk_norm_rope", in.qkv);
  const at::Tensor qkv = dense_rows(in.qkv);
  const RopeTables& rope = *in.rope;
  const int64_t head_size = out.q.size(2);
  const int64_t spatial = head_size / 6;
  kernels::QkNormRopeArgs args;
  args.qkv = qkv.const_data_ptr();
  args.q = out.q.mutable_data_ptr();
  args.k = out.k.mutable_data_ptr();
  args.v = out.v.mutable_data_ptr();
  args.norm_q = in.norm_q.const_data_ptr<float>();
  args.norm_k = in.norm_k.const_data_ptr<float>();
  args.frame_table =
      axis_table(qkv, rope.cos_frame, rope.sin_frame, rope.frames, head_size / 2 - 2 * spatial);
  args.row_table = axis_table(qkv, rope.cos_row, rope.sin_row, rope.height, spatial);
  args.column_table = axis_table(qkv, rope.cos_column, rope.sin_column, rope.width, spatial);
  args.frames = rope.frames;
  args.height = rope.height;
  args.width = rope.width;
  args.num_heads = out.q.size(0);
  args.head_size = head_size;
  args.first_token = in.first_token;
  args.rows = qkv.size(0);
  args.qkv_row_stride = row_stride(qkv);
  args.eps = static_cast<float>(in.eps);
  args.dtype = kernel_dtype(qkv.scalar_type());
  launch.check(kernels::qk_norm_rope(args, launch.stream()));
}

void gate_residual_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate) {
  T2V_ASSERT(branch.device() == x.device());
  if (gate.defined()) require_same_device(x, gate);
  const Launch launch("gate_residual", x);
  const at::Tensor added = dense_rows(branch);
  kernels::GateResidualArgs args;
  args.x = x.mutable_data_ptr<float>();
  args.branch = added.const_data_ptr();
  args.gate = gate.defined() ? gate.const_data_ptr<float>() : nullptr;
  args.rows = x.size(0);
  args.columns = x.size(1);
  args.x_row_stride = row_stride(x);
  args.branch_row_stride = row_stride(added);
  args.branch_dtype = kernel_dtype(added.scalar_type());
  launch.check(kernels::gate_residual(args, launch.stream()));
}

at::Tensor gate_residual_norm_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate,
                               const RowNorm& norm, double eps, at::ScalarType out) {
  T2V_ASSERT(branch.device() == x.device());
  if (gate.defined()) require_same_device(x, gate);
  require_same_device(x, norm.a);
  require_same_device(x, norm.b);
  const Launch launch("gate_residual_norm", x);
  const at::Tensor added = dense_rows(branch);
  at::Tensor result = at::empty(x.sizes(), x.options().dtype(out));
  kernels::GateResidualNormArgs args;
  args.x = x.mutable_data_ptr<float>();
  args.branch = added.const_data_ptr();
  args.gate = gate.defined() ? gate.const_data_ptr<float>() : nullptr;
  args.scale = norm.a.const_data_ptr<float>();
  args.shift = norm.b.const_data_ptr<float>();
  args.out = result.mutable_data_ptr();
  args.rows = x.size(0);
  args.columns = x.size(1);
  args.x_row_stride = row_stride(x);
  args.branch_row_stride = row_stride(added);
  args.out_row_stride = x.size(1);
  args.eps = static_cast<float>(eps);
  args.branch_dtype = kernel_dtype(added.scalar_type());
  args.out_dtype = kernel_dtype(out);
  args.modulation = norm.kind == NormKind::kModulate ? kernels::Modulation::kScaleShift
                                                     : kernels::Modulation::kAffine;
  launch.check(kernels::gate_residual_norm(args, launch.stream()));
  return result;
}

constexpr OpTable kTable{
    .name = "cuda",
    .layer_norm_modulate = layer_norm_modulate,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .qk_norm_rope = qk_norm_rope,
    .gate_residual_ = gate_residual_,
    .gate_residual_norm_ = gate_residual_norm_,
    .layer_norm_quantise = cuda::layer_norm_quantise,
    .vae_norm = cuda::vae_norm,
    .add_bias_residual = cuda::add_bias_residual,
    .frames_to_rgb8 = cuda::frames_to_rgb8,
    .solver_step = cuda::solver_step,
    .quantise_rows = cuda::quantise_rows,
    .gate_residual_norm_quantise_ = cuda::gate_residual_norm_quantise_,
    .pack_int8 = cuda::pack_int8,
    .int8_linear = cuda::int8_linear,
    .int8_linear_residual_ = cuda::int8_linear_residual_,
    .expand_int8 = cuda::expand_int8,
    .quantise_rows_fp8 = cuda::quantise_rows_fp8,
    .fp8_linear = cuda::fp8_linear,
    .attention = cuda::attention,
    .attention_int8 = cuda::attention_int8,
    .cached_attention = cuda::cached_attention,
};

}  // namespace
}  // namespace t2v::ops

// Found by load_cuda_backend() (ops/backend.h).
extern "C" __attribute__((visibility("default"))) const t2v::ops::OpTable* t2v_cuda_ops() {
  return &t2v::ops::kTable;
}
