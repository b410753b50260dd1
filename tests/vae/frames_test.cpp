// Frames to bytes: rounding, limits, strides.
#include "ops/frames.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

TEST_CASE("frames_to_rgb8 rounds, limits and interleaves", "[frames]") {
  const at::Tensor frames =
      at::tensor({-1.0, 1.0, 0.0, -2.0, 3.0, 2 * (100.4 / 255) - 1, 2 * (100.6 / 255) - 1,
                  std::nan(""), -0.999, 0.999, 0.25, -0.25},
                 at::kFloat)
          .view({3, 1, 2, 2});
  const at::Tensor rgb = t2v::ops::frames_to_rgb8(frames);
  CHECK(rgb.sizes() == at::IntArrayRef({1, 2, 2, 3}));
  CHECK(rgb.scalar_type() == at::kByte);
  CHECK(rgb.is_contiguous());
  const auto byte = [&](int64_t y, int64_t x, int64_t c) {
    return static_cast<int>(rgb[0][y][x][c].item<uint8_t>());
  };
  CHECK(byte(0, 0, 0) == 0);
  CHECK(byte(0, 1, 0) == 255);
  CHECK(byte(1, 0, 0) == 128);  // 127.5, ties to even
  CHECK(byte(1, 1, 0) == 0);
  CHECK(byte(0, 0, 1) == 255);
  CHECK(byte(0, 1, 1) == 100);
  CHECK(byte(1, 0, 1) == 101);
  CHECK(byte(1, 1, 1) == 0);  // NaN
  CHECK(byte(0, 0, 2) == 0);
  CHECK(byte(0, 1, 2) == 255);
  const at::Tensor last = frames.permute({1, 2, 3, 0}).contiguous().permute({3, 0, 1, 2});
  CHECK(at::equal(t2v::ops::frames_to_rgb8(last), rgb));
}

TEST_CASE("frames_to_rgb8 counts what is not finite", "[frames]") {
  at::Tensor frames = at::zeros({3, 2, 2, 2});
  const at::Tensor rgb8 = at::empty({2, 2, 2, 3}, at::kByte);
  const at::Tensor count = at::zeros({1}, at::kInt);
  t2v::ops::frames_to_rgb8(frames, rgb8, count);
  CHECK(count.item<int>() == 0);
  frames[0][1][0][0] = std::nan("");
  frames[2][0][1][1] = HUGE_VAL;
  frames[1][1][1][0] = -HUGE_VAL;
  t2v::ops::frames_to_rgb8(frames, rgb8, count);
  CHECK(count.item<int>() == 3);
  CHECK(rgb8[1][0][0][0].item<int>() == 0);
  CHECK(rgb8[0][1][1][2].item<int>() == 255);
  CHECK(rgb8[1][1][0][1].item<int>() == 0);
  t2v::ops::frames_to_rgb8(frames, rgb8, {});
  t2v::ops::frames_to_rgb8(frames, rgb8, count);  // added to what is there
  CHECK(count.item<int>() == 6);
}
