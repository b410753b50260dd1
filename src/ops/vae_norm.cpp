#include "ops/vae_norm.h"

#include "core/check.h"
#include "ops/op_timer.h"

namespace t2v::ops {
namespace {

bool is_vector(const at::Tensor& v, int64_t size) {
  return v.dim() == 1 && v.size(0) == size && v.scalar_type() == at::kFloat && v.is_contiguous();
}

}  // namespace

void vae_norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& gamma,
              NormActivation activation, const at::Tensor& out) {
  T2V_ASSERT(x.dim() == 4 && out.sizes() == x.sizes() && out.scalar_type() == x.scalar_type());
  T2V_ASSERT(is_vector(gamma, x.size(3)) && (!bias.defined() || is_vector(bias, x.size(3))));
  T2V_ASSERT(x.stride(3) == 1 && out.stride(3) == 1 && out.device() == x.device());
  const TimedOp timed("vae_norm", x);
  op_table(x.device().type()).vae_norm(x, bias, gamma, activation, out);
}

}  // namespace t2v::ops
