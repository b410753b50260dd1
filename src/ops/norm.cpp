#include "ops/norm.h"

#include <ATen/ops/empty.h>

#include "core/check.h"
#include "ops/int8.h"
#include "ops/op_timer.h"

namespace t2v::ops {
namespace {

bool is_vector(const at::Tensor& v, int64_t size) {
  return v.defined() && v.dim() == 1 && v.size(0) == size && v.scalar_type() == at::kFloat &&
         v.is_contiguous();
}

bool is_rows(const at::Tensor& x) {
  return x.dim() == 2 && x.stride(1) == 1 && at::isFloatingType(x.scalar_type());
}

void check_residual(const at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate) {
  T2V_ASSERT(is_rows(x) && x.scalar_type() == at::kFloat && is_rows(branch) &&
             branch.sizes() == x.sizes());
  T2V_ASSERT(!gate.defined() || is_vector(gate, x.size(1)));
}

}  // namespace

at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale,
                               const at::Tensor& shift, double eps, at::ScalarType out) {
  T2V_ASSERT(is_rows(x) && is_vector(scale, x.size(1)) && is_vector(shift, x.size(1)));
  const TimedOp timed("layer_norm_modulate", x);
  return op_table(x.device().type()).layer_norm_modulate(x, scale, shift, eps, out);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, at::ScalarType out) {
  T2V_ASSERT(is_rows(x) && is_vector(weight, x.size(1)) && is_vector(bias, x.size(1)));
  const TimedOp timed("layer_norm", x);
  return op_table(x.device().type()).layer_norm(x, weight, bias, eps, out);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  T2V_ASSERT(is_rows(x) && is_vector(weight, x.size(1)));
  const TimedOp timed("rms_norm", x);
  return op_table(x.device().type()).rms_norm(x, weight, eps);
}

void qk_norm_rope(const QkNormRope& in, const QkvHeads& out) {
  T2V_ASSERT(is_rows(in.qkv) && in.rope != nullptr && out.q.defined() && out.q.dim() == 3);
  const int64_t channels = out.q.size(0) * out.q.size(2);
  T2V_ASSERT(in.qkv.size(1) == 3 * channels);
  T2V_ASSERT(is_vector(in.norm_q, channels) && is_vector(in.norm_k, channels));
  T2V_ASSERT(out.q.size(1) == in.rope->num_tokens());
  T2V_ASSERT(in.first_token >= 0 && in.qkv.size(0) <= out.q.size(1) - in.first_token);
  for (const at::Tensor* heads : {&out.q, &out.k, &out.v})
    T2V_ASSERT(heads->sizes() == out.q.sizes() && heads->is_contiguous() &&
               heads->scalar_type() == in.qkv.scalar_type() && heads->device() == in.qkv.device());
  const int64_t pairs =
      in.rope->cos_frame.size(1) + in.rope->cos_row.size(1) + in.rope->cos_column.size(1);
  T2V_ASSERT(2 * pairs == out.q.size(2));
  const TimedOp timed("qk_norm_rope", in.qkv);
  op_table(in.qkv.device().type()).qk_norm_rope(in, out);
}

QkvHeads empty_heads(const at::Tensor& qkv, int64_t num_heads, int64_t num_tokens) {
  T2V_ASSERT(qkv.dim() == 2 && num_heads > 0 && qkv.size(1) % (3 * num_heads) == 0);
  const auto heads = [&] {
    return at::empty({num_heads, num_tokens, qkv.size(1) / (3 * num_heads)}, qkv.options());
  };
  return {.q = heads(), .k = heads(), .v = heads()};
}

void gate_residual_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate) {
  check_residual(x, branch, gate);
  const TimedOp timed("gate_residual", x);
  op_table(x.device().type()).gate_residual_(x, branch, gate);
}

at::Tensor gate_residual_norm_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate,
                               const RowNorm& norm, double eps, at::ScalarType out) {
  check_residual(x, branch, gate);
  T2V_ASSERT(is_vector(norm.a, x.size(1)) && is_vector(norm.b, x.size(1)));
  const TimedOp timed("gate_residual_norm", x);
  return op_table(x.device().type()).gate_residual_norm_(x, branch, gate, norm, eps, out);
}

QuantisedRows layer_norm_quantise(const at::Tensor& x, const RowNorm& norm, double eps,
                                  int64_t rotation_group) {
  T2V_ASSERT(is_rows(x) && is_vector(norm.a, x.size(1)) && is_vector(norm.b, x.size(1)));
  T2V_ASSERT(rotation_group == 0 ||
             ops::rotation_group(rotation_group, x.size(1)) == rotation_group);
  // Kernels of devices take 8 columns at a time.
  const bool composed = !x.is_cpu() && x.size(1) % 8 != 0;
  const OpTable& table = composed ? reference_ops() : op_table(x.device().type());
  const TimedOp timed("layer_norm_quantise", x);
  return table.layer_norm_quantise(x, norm, eps, rotation_group);
}

}  // namespace t2v::ops
