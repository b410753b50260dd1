#include "ops/cpu_video.h"

#include <ATen/Parallel.h>
#include <ATen/ops/mul.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/reference_video.h"
#include "ops/vae_norm_loops.h"

namespace t2v::ops::cpu {
namespace {

constexpr int64_t kMinElements = 16384;  // of one task

template <typename T>
void norm_rows(const at::Tensor& x, const at::Tensor& factors, NormActivation activation,
               const at::Tensor& out) {
  const int64_t height = x.size(1), width = x.size(2), channels = x.size(3);
  const auto* source = static_cast<const T*>(x.const_data_ptr());
  auto* target = static_cast<T*>(out.data_ptr());
  const float* scale = factors.const_data_ptr<float>();
  const auto normalise = activation == NormActivation::kSilu ? row::normalise_pixels_silu<T>
                                                             : row::normalise_pixels<T>;
  const int64_t grain = std::max<int64_t>(1, kMinElements / std::max<int64_t>(1, width * channels));
  at::parallel_for(0, x.size(0) * height, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> pixel(static_cast<size_t>(channels));
    for (int64_t i = begin; i < end; ++i) {
      const T* from = source + i / height * x.stride(0) + i % height * x.stride(1);
      T* to = target + i / height * out.stride(0) + i % height * out.stride(1);
      normalise({.from = from, .from_stride = x.stride(2), .to = to, .to_stride = out.stride(2)},
                {.count = width, .channels = channels, .factors = scale, .pixel = pixel.data()});
    }
  });
}

}  // namespace

void vae_norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& gamma,
              NormActivation activation, const at::Tensor& out) {
  const bool fast = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  if (!fast || bias.defined()) return reference::vae_norm(x, bias, gamma, activation, out);
  const at::Tensor factors = at::mul(gamma, std::sqrt(static_cast<double>(x.size(3)))).contiguous();
  if (x.scalar_type() == at::kBFloat16) {
    norm_rows<uint16_t>(x, factors, activation, out);
  } else {
    norm_rows<float>(x, factors, activation, out);
  }
}

}  // namespace t2v::ops::cpu
