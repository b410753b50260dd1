#include "ops/reference_video.h"

#include <ATen/ATen.h>

#include <cmath>

namespace t2v::ops::reference {

void vae_norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& gamma,
              NormActivation activation, const at::Tensor& out) {
  const at::Tensor wide = bias.defined() ? x.to(at::kFloat) + bias : x.to(at::kFloat);
  const at::Tensor norm =
      at::linalg_vector_norm(wide, 2, at::IntArrayRef({3}), true).clamp_min(1e-12);
  const at::Tensor y = wide / norm * std::sqrt(static_cast<double>(x.size(3))) * gamma;
  out.copy_(activation == NormActivation::kSilu ? at::silu(y) : y);
}

void add_bias_residual(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& residual,
                       const at::Tensor& out) {
  const at::Tensor sum = y.to(at::kFloat) + bias;
  out.copy_(residual.defined() ? sum + residual.to(at::kFloat) : sum);
}

void frames_to_rgb8(const at::Tensor& frames, const at::Tensor& rgb8,
                    const at::Tensor& non_finite) {
  const at::Tensor v =
      frames.permute({1, 2, 3, 0}).div(2).add_(0.5).clamp_(0, 1).mul_(255).round_();
  rgb8.copy_(v.nan_to_num_(0));
  if (non_finite.defined()) non_finite.add_(at::isfinite(frames).logical_not().sum());
}

SolverOutputs solver_step(const SolverInputs& in, const SolverCoefficients& coefficients) {
  const SolverCoefficients& c = coefficients;
  const at::Tensor v =
      in.uncond.defined() ? at::add(in.uncond, at::sub(in.cond, in.uncond), c.guidance) : in.cond;
  SolverOutputs out;
  out.x0 = at::sub(in.x, v, c.sigma);
  out.corrected = in.x;
  if (!c.keeps_x()) {
    out.corrected = at::mul(in.x, c.correct_x);
    if (in.last.defined()) out.corrected.add_(in.last, c.correct_last);
    if (in.x0_1.defined()) out.corrected.add_(in.x0_1, c.correct_x0_1);
    if (in.x0_2.defined()) out.corrected.add_(in.x0_2, c.correct_x0_2);
    out.corrected.add_(out.x0, c.correct_x0);
  }
  out.next = at::mul(out.corrected, c.predict_x).add_(out.x0, c.predict_x0);
  if (in.x0_1.defined()) out.next.add_(in.x0_1, c.predict_x0_1);
  return out;
}

}  // namespace t2v::ops::reference
