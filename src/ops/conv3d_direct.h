// Direct convolution for CPUs with AVX-512: own loops on raw pointers, weights packed once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace t2v::ops::direct {

// A video in memory: channels lie side by side, other strides are free (in elements).
struct VideoView {
  void* data = nullptr;
  int64_t frame = 0;
  int64_t row = 0;
  int64_t pixel = 0;
  bool is_bf16 = false;  // else fp32
};

struct OutputSize {
  int64_t frames = 0;
  int64_t height = 0;
  int64_t width = 0;
};

// Weights of one convolution as the loops read them:
// [group of 16 or 32 outputs][part][row][column and input channel][output], fp32 or pairs of bf16.
// Parts are the taps in time, or the four of the Winograd form F(2,3) in time (Winograd 1980; Lavin
// and Gray 2016), which makes two frames of four products instead of six.
struct PackedWeights {
  at::Tensor plain;     // always there
  at::Tensor winograd;  // only for kernels of 3 x (more than 1) x (more than 1)
  at::Tensor bias;      // fp32, padded with zeros to a multiple of 32
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int64_t kernel_frames = 0;
  int64_t kernel_height = 0;
  int64_t kernel_width = 0;
  bool is_bf16 = false;
};

// Whether this CPU can run the loops for this type and number of input channels.
bool available(at::ScalarType dtype, int64_t in_channels);

// weight fp32 [O, C, kt, kh, kw], bias fp32 [O] or undefined; on the CPU.
PackedWeights pack(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype);

// out = conv(in) + bias (+ residual, which may be out itself). `in` is in the weights' type, starts
// at the first tap of the first output and has pixel = in_channels; sums are fp32, rounded once.
void run(const PackedWeights& weights, const VideoView& in, const VideoView& out,
         const VideoView* residual, const OutputSize& size);

}  // namespace t2v::ops::direct
