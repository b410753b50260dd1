#include "ops/cuda/cuda_video.h"

#include <ATen/ops/empty_like.h>

#include "core/check.h"
#include "ops/launch.h"
#include "t2v/kernels/add_bias_residual.h"
#include "t2v/kernels/frames_to_rgb8.h"
#include "t2v/kernels/solver_step.h"
#include "t2v/kernels/vae_norm.h"

namespace t2v::ops::cuda {
namespace {

// The stride of a dimension with one entry says nothing in ATen.
int64_t stride_of(const at::Tensor& x, int64_t dim) { return x.size(dim) > 1 ? x.stride(dim) : 0; }

// [T, H, W, C]
kernels::VideoSize size_of(const at::Tensor& x) {
  return {.frames = x.size(0), .height = x.size(1), .width = x.size(2), .channels = x.size(3)};
}

kernels::VideoStrides strides_of(const at::Tensor& x) {
  T2V_ASSERT(x.size(3) == 1 || x.stride(3) == 1);
  return {.frame = stride_of(x, 0), .row = stride_of(x, 1), .pixel = stride_of(x, 2)};
}

// A vector [C] on x's device, or null.
const float* vector_of(const at::Tensor& vector, const at::Tensor& x) {
  if (!vector.defined()) return nullptr;
  T2V_ASSERT(vector.device() == x.device() && vector.is_contiguous());
  return vector.const_data_ptr<float>();
}

const float* array_of(const at::Tensor& x) {
  return x.defined() ? x.const_data_ptr<float>() : nullptr;
}

kernels::SolverFactors factors_of(const SolverCoefficients& c) {
  const auto narrow = [](double value) { return static_cast<float>(value); };
  return {.sigma = narrow(c.sigma),
          .guidance = narrow(c.guidance),
          .correct_x = narrow(c.correct_x),
          .correct_last = narrow(c.correct_last),
          .correct_x0_1 = narrow(c.correct_x0_1),
          .correct_x0_2 = narrow(c.correct_x0_2),
          .correct_x0 = narrow(c.correct_x0),
          .predict_x = narrow(c.predict_x),
          .predict_x0 = narrow(c.predict_x0),
          .predict_x0_1 = narrow(c.predict_x0_1)};
}

}  // namespace

void vae_norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& gamma,
              NormActivation activation, const at::Tensor& out) {
  const Launch launch("vae_norm", x);
  kernels::VaeNormArgs args;
  args.x = x.const_data_ptr();
  args.out = out.mutable_data_ptr();
  args.bias = vector_of(bias, x);
  args.gamma = vector_of(gamma, x);
  args.size = size_of(x);
  args.x_strides = strides_of(x);
  args.out_strides = strides_of(out);
  args.dtype = kernel_dtype(x.scalar_type());
  args.silu = activation == NormActivation::kSilu;
  launch.check(kernels::vae_norm(args, launch.stream()));
}

void add_bias_residual(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& residual,
                       const at::Tensor& out) {
  T2V_ASSERT(!residual.defined() || residual.device() == y.device());
  const Launch launch("add_bias_residual", y);
  kernels::AddBiasResidualArgs args;
  args.y = y.const_data_ptr();
  args.bias = vector_of(bias, y);
  args.out = out.mutable_data_ptr();
  args.size = size_of(y);
  args.y_strides = strides_of(y);
  args.out_strides = strides_of(out);
  if (residual.defined()) {
    args.residual = residual.const_data_ptr();
    args.residual_strides = strides_of(residual);
  }
  args.y_dtype = kernel_dtype(y.scalar_type());
  args.out_dtype = kernel_dtype(out.scalar_type());
  launch.check(kernels::add_bias_residual(args, launch.stream()));
}

void frames_to_rgb8(const at::Tensor& frames, const at::Tensor& rgb8,
                    const at::Tensor& non_finite) {
  const Launch launch("frames_to_rgb8", frames);
  kernels::FramesToRgb8Args args;
  args.frames = frames.const_data_ptr<float>();
  args.rgb8 = rgb8.mutable_data_ptr<uint8_t>();
  args.non_finite = non_finite.defined() ? non_finite.mutable_data_ptr<int>() : nullptr;
  args.num_frames = frames.size(1);
  args.height = frames.size(2);
  args.width = frames.size(3);
  args.channel_stride = frames.stride(0);
  args.frame_stride = stride_of(frames, 1);
  args.row_stride = stride_of(frames, 2);
  args.pixel_stride = stride_of(frames, 3);
  launch.check(kernels::frames_to_rgb8(args, launch.stream()));
}

SolverOutputs solver_step(const SolverInputs& in, const SolverCoefficients& coefficients) {
  const Launch launch("solver_step", in.x);
  SolverOutputs out{.next = at::empty_like(in.x), .corrected = in.x, .x0 = at::empty_like(in.x)};
  kernels::SolverStepArgs args;
  if (!coefficients.keeps_x()) {
    out.corrected = at::empty_like(in.x);
    args.corrected = out.corrected.mutable_data_ptr<float>();
  }
  args.x = array_of(in.x);
  args.cond = array_of(in.cond);
  args.uncond = array_of(in.uncond);
  args.last = array_of(in.last);
  args.x0_1 = array_of(in.x0_1);
  args.x0_2 = array_of(in.x0_2);
  args.next = out.next.mutable_data_ptr<float>();
  args.x0 = out.x0.mutable_data_ptr<float>();
  args.size = in.x.numel();
  args.factors = factors_of(coefficients);
  launch.check(kernels::solver_step(args, launch.stream()));
  return out;
}

}  // namespace t2v::ops::cuda
