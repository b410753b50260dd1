// Fused loops of the CPU over videos (the others are in cpu_ops.cpp).
#pragma once

#include "ops/backend.h"

namespace t2v::ops::cpu {

void vae_norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& gamma,
              NormActivation activation, const at::Tensor& out);

}  // namespace t2v::ops::cpu
