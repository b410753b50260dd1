#include "ops/rope.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <cmath>

#include "core/check.h"
#include "ops/op_timer.h"

namespace t2v::ops {
namespace {

constexpr double kTheta = 10000.0;

struct Axis {
  at::Tensor cos;
  at::Tensor sin;
};

// Angles of positions first, first + 1, ...
Axis make_axis(int64_t first, int64_t positions, int64_t channels, at::Device device) {
  const int64_t pairs = channels / 2;
  Axis axis{at::empty({positions, pairs}, at::kFloat), at::empty({positions, pairs}, at::kFloat)};
  auto* cos = axis.cos.mutable_data_ptr<float>();
  auto* sin = axis.sin.mutable_data_ptr<float>();
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t j = 0; j < pairs; ++j) {
      const double frequency =
          std::pow(kTheta, -2.0 * static_cast<double>(j) / static_cast<double>(channels));
      const double angle = static_cast<double>(first + p) * frequency;
      cos[p * pairs + j] = static_cast<float>(std::cos(angle));
      sin[p * pairs + j] = static_cast<float>(std::sin(angle));
    }
  }
  return {axis.cos.to(device), axis.sin.to(device)};
}

int64_t spatial_channels(int64_t head_size) { return 2 * (head_size / 6); }

}  // namespace

RopeTables make_rope_tables(int64_t frames, int64_t height, int64_t width, int64_t head_size,
                            at::Device device, int64_t first_frame) {
  T2V_ASSERT(frames > 0 && height > 0 && width > 0 && head_size > 0 && head_size % 2 == 0);
  const int64_t spatial = spatial_channels(head_size);
  const Axis t = make_axis(first_frame, frames, head_size - 2 * spatial, device);
  const Axis h = make_axis(0, height, spatial, device);
  const Axis w = make_axis(0, width, spatial, device);
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

void rotate_frames(const at::Tensor& keys, int64_t frames, const at::Tensor& out) {
  T2V_ASSERT(keys.dim() == 3 && out.sizes() == keys.sizes());
  const TimedOp timed("rotate_frames", keys);
  const int64_t spatial = 2 * spatial_channels(keys.size(2));
  const int64_t temporal = keys.size(2) - spatial;
  const Axis turn = make_axis(frames, 1, temporal, keys.device());
  const at::Tensor pairs =
      keys.narrow(2, 0, temporal).to(at::kFloat).unflatten(2, {temporal / 2, 2});
  const at::Tensor x = pairs.select(3, 0);
  const at::Tensor y = pairs.select(3, 1);
  out.narrow(2, 0, temporal)
      .copy_(at::stack({x * turn.cos - y * turn.sin, x * turn.sin + y * turn.cos}, 3).flatten(2));
  out.narrow(2, temporal, spatial).copy_(keys.narrow(2, temporal, spatial));
}

}  // namespace t2v::ops
