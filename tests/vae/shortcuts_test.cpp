// The weightless shortcuts of VAE 2.2, by hand.
#include "models/vae/shortcuts.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

using namespace t2v::models::vae;

TEST_CASE("average_down: means of channels that were pixels", "[vae]") {
  // [T=1, H=2, W=2, C=2]: channel c, row r, column k hold 100 c + 10 r + k.
  at::Tensor x = at::zeros({1, 2, 2, 2});
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t r = 0; r < 2; ++r)
      for (int64_t k = 0; k < 2; ++k) x[0][r][k][c] = static_cast<double>(100 * c + 10 * r + k);
  // Four channels out of eight values: pairs of columns fall together.
  CHECK(at::equal(average_down(x, {.time = 1, .space = 2}, 4).flatten(),
                  at::tensor({0.5F, 10.5F, 100.5F, 110.5F})));
  // With frames halved too, a frame of zeros comes first: means of 8 values, half of them zero.
  CHECK(at::equal(average_down(x, {.time = 2, .space = 2}, 2).flatten(),
                  at::tensor({5.5F / 2, 105.5F / 2})));
  CHECK(at::equal(average_down(x, {}, 2), x));
}

TEST_CASE("DuplicateUp spreads channels over pixels; the first frame is one", "[vae]") {
  const at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).view({1, 1, 1, 4});
  // Two channels of four pixels are eight values: each of x is there twice.
  at::Tensor out = at::zeros({1, 2, 2, 2});
  DuplicateUp(4, 2, {.time = 1, .space = 2}, at::kCPU).add_to(out, x, false);
  CHECK(at::equal(out.select(3, 0).flatten(), at::tensor({1.0F, 1.0F, 2.0F, 2.0F})));
  CHECK(at::equal(out.select(3, 1).flatten(), at::tensor({3.0F, 3.0F, 4.0F, 4.0F})));
  // One channel of two frames of four pixels: x's first two values are the first frame.
  const DuplicateUp in_time(4, 1, {.time = 2, .space = 2}, at::kCPU);
  at::Tensor both = at::zeros({2, 2, 2, 1}), first = at::zeros({1, 2, 2, 1});
  in_time.add_to(both, x, false);
  in_time.add_to(first, x, true);
  CHECK(at::equal(both.flatten(), at::tensor({1.F, 1.F, 2.F, 2.F, 3.F, 3.F, 4.F, 4.F})));
  CHECK(at::equal(first[0], both[1]));
}

TEST_CASE("pixels packed and unpacked are the same; columns come before rows", "[vae]") {
  const at::Tensor frames = at::rand({2, 4, 6, 3});
  const at::Tensor packed = pack_pixels(frames, 2);
  CHECK(packed.sizes() == at::IntArrayRef({2, 2, 3, 12}));
  CHECK(at::equal(unpack_pixels(packed, 2), frames));
  CHECK(packed[1][1][2][2 * 4 + 1 * 2 + 0].item<float>() == frames[1][2][5][2].item<float>());
}
