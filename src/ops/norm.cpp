#include "ops/norm.h"

#include "core/check.h"

namespace t2v::ops {
namespace {

bool is_vector(const at::Tensor& v, int64_t size) {
  return v.defined() && v.dim() == 1 && v.size(0) == size && v.scalar_type() == at::kFloat &&
         v.is_contiguous();
}

bool is_rows(const at::Tensor& x) {
  return x.dim() == 2 && x.stride(1) == 1 && at::isFloatingType(x.scalar_type());
}

}  // namespace

at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale,
                               const at::Tensor& shift, double eps, at::ScalarType out) {
  T2V_ASSERT(is_rows(x) && is_vector(scale, x.size(1)) && is_vector(shift, x.size(1)));
  return op_table(x.device().type()).layer_norm_modulate(x, scale, shift, eps, out);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, at::ScalarType out) {
  T2V_ASSERT(is_rows(x) && is_vector(weight, x.size(1)) && is_vector(bias, x.size(1)));
  return op_table(x.device().type()).layer_norm(x, weight, bias, eps, out);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  T2V_ASSERT(is_rows(x) && is_vector(weight, x.size(1)));
  return op_table(x.device().type()).rms_norm(x, weight, eps);
}

QkvHeads qk_norm_rope(const at::Tensor& qkv, const at::Tensor& norm_q, const at::Tensor& norm_k,
                      const RopeTables& rope, int64_t num_heads, double eps) {
  T2V_ASSERT(is_rows(qkv) && qkv.size(1) % (3 * num_heads) == 0);
  const int64_t channels = qkv.size(1) / 3;
  T2V_ASSERT(is_vector(norm_q, channels) && is_vector(norm_k, channels));
  T2V_ASSERT(qkv.size(0) == rope.num_tokens());
  const int64_t pairs = rope.cos_frame.size(1) + rope.cos_row.size(1) + rope.cos_column.size(1);
  T2V_ASSERT(2 * pairs * num_heads == channels);
  return op_table(qkv.device().type()).qk_norm_rope(qkv, norm_q, norm_k, rope, num_heads, eps);
}

void gate_residual_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate) {
  T2V_ASSERT(is_rows(x) && x.scalar_type() == at::kFloat && is_rows(branch) &&
             branch.sizes() == x.sizes());
  T2V_ASSERT(!gate.defined() || is_vector(gate, x.size(1)));
  op_table(x.device().type()).gate_residual_(x, branch, gate);
}

}  // namespace t2v::ops
