#include "ops/rope.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "core/check.h"

namespace t2v::ops {
namespace {

constexpr double kTheta = 10000.0;

struct Axis {
  at::Tensor cos;
  at::Tensor sin;
};

Axis make_axis(int64_t positions, int64_t channels, at::Device device) {
  const int64_t pairs = channels / 2;
  Axis axis{at::empty({positions, pairs}, at::kFloat), at::empty({positions, pairs}, at::kFloat)};
  auto* cos = axis.cos.mutable_data_ptr<float>();
  auto* sin = axis.sin.mutable_data_ptr<float>();
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t j = 0; j < pairs; ++j) {
      const double frequency =
          std::pow(kTheta, -2.0 * static_cast<double>(j) / static_cast<double>(channels));
      const double angle = static_cast<double>(p) * frequency;
      cos[p * pairs + j] = static_cast<float>(std::cos(angle));
      sin[p * pairs + j] = static_cast<float>(std::sin(angle));
    }
  }
  return {axis.cos.to(device), axis.sin.to(device)};
}

}  // namespace

RopeTables make_rope_tables(int64_t frames, int64_t height, int64_t width, int64_t head_size,
                            at::Device device) {
  T2V_ASSERT(frames > 0 && height > 0 && width > 0 && head_size > 0 && head_size % 2 == 0);
  const int64_t spatial = 2 * (head_size / 6);
  const Axis t = make_axis(frames, head_size - 2 * spatial, device);
  const Axis h = make_axis(height, spatial, device);
  const Axis w = make_axis(width, spatial, device);
  return {.frames = frames,
          .height = height,
          .width = width,
          .cos_frame = t.cos,
          .sin_frame = t.sin,
          .cos_row = h.cos,
          .sin_row = h.sin,
          .cos_column = w.cos,
          .sin_column = w.sin};
}

}  // namespace t2v::ops
