// Composed twins of the ops on videos and latents (the others are in reference.cpp): plain ATen,
// any device.
#pragma once

#include "ops/backend.h"

namespace t2v::ops::reference {

void vae_norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& gamma,
              NormActivation activation, const at::Tensor& out);
void add_bias_residual(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& residual,
                       const at::Tensor& out);
void frames_to_rgb8(const at::Tensor& frames, const at::Tensor& rgb8, const at::Tensor& non_finite);
SolverOutputs solver_step(const SolverInputs& in, const SolverCoefficients& coefficients);

}  // namespace t2v::ops::reference
