#include "ops/vae_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/silu.h>

#include <cmath>
#include <vector>

#include "core/check.h"
#include "ops/backend.h"
#include "ops/vae_norm_loops.h"

namespace t2v::ops {
namespace {

constexpr double kEps = 1e-12;
constexpr int64_t kMinElements = 16384;  // of one task

void check(const at::Tensor& x, const at::Tensor& gamma, const at::Tensor& out) {
  T2V_ASSERT(x.dim() == 4 && out.sizes() == x.sizes() && out.scalar_type() == x.scalar_type());
  T2V_ASSERT(gamma.dim() == 1 && gamma.size(0) == x.size(3) && gamma.scalar_type() == at::kFloat);
  T2V_ASSERT(x.stride(3) == 1 && out.stride(3) == 1);
}

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

void reference::vae_norm(const at::Tensor& x, const at::Tensor& gamma, NormActivation activation,
                         const at::Tensor& out) {
  check(x, gamma, out);
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor norm =
      at::linalg_vector_norm(wide, 2, at::IntArrayRef({3}), true).clamp_min(kEps);
  const at::Tensor y = wide / norm * std::sqrt(static_cast<double>(x.size(3))) * gamma;
  out.copy_(activation == NormActivation::kSilu ? at::silu(y) : y);
}

void vae_norm(const at::Tensor& x, const at::Tensor& gamma, NormActivation activation,
              const at::Tensor& out) {
  check(x, gamma, out);
  if (!x.is_cpu() || &op_table(at::kCPU) == &reference_ops())
    return reference::vae_norm(x, gamma, activation, out);
  const at::Tensor factors = (gamma * std::sqrt(static_cast<double>(x.size(3)))).contiguous();
  if (x.scalar_type() == at::kBFloat16) {
    norm_rows<uint16_t>(x, factors, activation, out);
  } else {
    T2V_ASSERT(x.scalar_type() == at::kFloat);
    norm_rows<float>(x, factors, activation, out);
  }
}

}  // namespace t2v::ops
