// Rotary embedding over {frames, height, width}: three small tables, built in fp64, kept in fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace t2v::ops {

// Token l = (f*height + h)*width + w. A head of D channels is split into D/2 interleaved pairs:
// first the temporal ones, then rows, then columns. Each table is [positions, pairs].
struct RopeTables {
  int64_t frames = 0;
  int64_t height = 0;
  int64_t width = 0;
  at::Tensor cos_frame, sin_frame;    // fp32 [F, pairs_t]
  at::Tensor cos_row, sin_row;        // fp32 [H, pairs_h]
  at::Tensor cos_column, sin_column;  // fp32 [W, pairs_w]

  [[nodiscard]] int64_t num_tokens() const { return frames * height * width; }
};

// Angles position * theta^(-2j/channels), theta 10000. head_size D is even; channels per axis:
// height = width = 2*(D/6), temporal = D - 2*height (behaviour of the published checkpoints).
// first_frame: position of frame 0, without a limit.
RopeTables make_rope_tables(int64_t frames, int64_t height, int64_t width, int64_t head_size,
                            at::Device device, int64_t first_frame = 0);

// Keys [N, R, D] as if they stood `frames` frames later: their temporal pairs turned, in fp32,
// rounded once to `out`'s type. out [N, R, D], of its own memory, may be strided.
void rotate_frames(const at::Tensor& keys, int64_t frames, const at::Tensor& out);

}  // namespace t2v::ops
