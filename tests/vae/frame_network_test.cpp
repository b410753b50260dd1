// The decoder frame by frame over rings (the form for CUDA), run on the CPU: against diffusers, the
// form in chunks, and what it says about its memory.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "models/vae/decode_bytes.h"
#include "models/vae/fold_taps.h"
#include "models/vae/frame_blocks.h"
#include "ops/conv2d.h"
#include "support/compare.h"
#include "vae/vae_fixture.h"

namespace {

using t2v::models::vae::NetworkForm;
using t2v::testing::decode_in_steps;
using t2v::testing::max_error;
using t2v::testing::mismatch;
using t2v::testing::Tolerance;
using Fixture = t2v::testing::VaeFixture;

constexpr Tolerance kFp32{.absolute = 2e-5, .relative = 0};

}  // namespace

TEST_CASE("decoder frame by frame = diffusers, fp32", "[vae][parity]") {
  for (const std::string name : {"narrow", "odd"}) {
    const Fixture fixture(name);
    INFO(name);
    at::Tensor expected = fixture.video();
    const at::Tensor got =
        decode_in_steps(fixture.decoder(at::kFloat, NetworkForm::kFrames), fixture.latents(), 1);
    CHECK(mismatch(got, expected, kFp32) == "");
    // Negative control: one element off.
    expected[1][2][3][4] += 1e-3;
    CHECK(mismatch(got, expected, kFp32) != "");
  }
}

TEST_CASE("decoder frame by frame in bf16 is as close to fp32 as diffusers' own bf16",
          "[vae][parity]") {
  for (const std::string name : {"narrow", "odd"}) {
    const Fixture fixture(name);
    const at::Tensor got =
        decode_in_steps(fixture.decoder(at::kBFloat16, NetworkForm::kFrames), fixture.latents(), 1);
    const double distance =
        ((got - fixture.video()).norm() / fixture.video().norm()).item<double>();
    INFO(name << ": " << distance << ", diffusers " << fixture.bf16_distance());
    CHECK(distance <= 1.25 * fixture.bf16_distance());
    CHECK(distance > 1e-5);  // bf16 indeed
  }
}

TEST_CASE("frame by frame = in chunks, over more turns of the rings than places", "[vae]") {
  const Fixture fixture("narrow");
  const at::Tensor latents = at::randn({fixture.spec.z_dim, 8, 3, 5});
  const at::Tensor chunks = decode_in_steps(fixture.decoder(at::kFloat), latents, 1);
  const auto decoder = fixture.decoder(at::kFloat, NetworkForm::kFrames);
  const at::Tensor frames = decode_in_steps(decoder, latents, 1);
  CHECK(max_error(frames, chunks) < 2e-5);
  CHECK(at::equal(frames, decode_in_steps(decoder, latents, 3)));
}

TEST_CASE("frame by frame: streams do not see each other, memory is constant and as predicted",
          "[vae]") {
  using t2v::models::vae::FrameMemory;
  const Fixture fixture("odd");
  const auto decoder = fixture.decoder(at::kBFloat16, NetworkForm::kFrames);
  const at::Tensor latents = at::randn({fixture.spec.z_dim, 4, 4, 6});
  const at::Tensor alone = decode_in_steps(decoder, latents, 1);
  auto one = decoder.start(4, 6), two = decoder.start(4, 6);
  const int64_t bytes = one.memory_bytes();
  std::vector<at::Tensor> parts;
  for (int64_t t = 0; t < 4; ++t) {
    parts.push_back(one.next(latents.narrow(1, t, 1)));
    two.next(at::randn({fixture.spec.z_dim, 1, 4, 6}));
  }
  CHECK(at::equal(at::cat(parts, 1), alone));
  CHECK(one.memory_bytes() == bytes);
  const t2v::models::vae::DecodeJob job{.num_latents = 4,
                                        .height = 4,
                                        .width = 6,
                                        .dtype = at::kBFloat16,
                                        .form = NetworkForm::kFrames};
  // The prediction adds temporaries.
  CHECK(t2v::models::vae::decode_work_bytes(fixture.spec, job, {}) > bytes);
  int64_t elements = 0;
  for (const auto& buffer :
       t2v::models::vae::frame_buffers(fixture.spec, 4, 6, t2v::models::vae::NetworkPart::kWhole)) {
    int64_t count = 1;
    for (const int64_t extent : buffer.shape) count *= extent;
    elements += count;
  }
  CHECK(bytes == 2 * elements);
}

TEST_CASE("four folded phases = nearest neighbour and a 3x3 convolution", "[vae]") {
  const at::Tensor weight = at::randn({5, 7, 3, 3}), x = at::randn({1, 7, 6, 4});
  const at::Tensor large = x.repeat_interleave(2, 2).repeat_interleave(2, 3);
  const at::Tensor expected = at::conv2d(large, weight, {}, 1, 1);
  const auto phases = t2v::models::vae::folded_phases(weight);
  const at::Tensor bordered = at::constant_pad_nd(x, {1, 1, 1, 1});
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t column = 0; column < 2; ++column) {
      const at::Tensor got = at::conv2d(bordered, phases[static_cast<size_t>(row * 2 + column)])
                                 .narrow(2, row, 6)
                                 .narrow(3, column, 4);
      const at::Tensor want =
          expected.slice(2, row, std::nullopt, 2).slice(3, column, std::nullopt, 2);
      CHECK(max_error(got, want) < 1e-4);
    }
  }
}

TEST_CASE("Conv2d pads its outputs with zeros and refuses other shapes", "[vae]") {
  const at::Tensor weight = at::randn({3, 5, 3, 3});
  const t2v::ops::Conv2d conv(weight, at::kFloat, at::kCPU);
  CHECK(conv.padded_out_channels() == 8);
  const at::Tensor in = at::randn({2, 6, 7, 5});
  const at::Tensor out = at::full({2, 4, 5, 8}, 7.0);
  conv.run(in, out);
  const at::Tensor expected = at::conv2d(in.permute({0, 3, 1, 2}), weight).permute({0, 2, 3, 1});
  CHECK(max_error(out.narrow(3, 0, 3), expected) < 1e-4);
  CHECK(out.narrow(3, 3, 5).abs().max().item<float>() == 0);
  CHECK_THROWS(conv.run(in, at::empty({2, 4, 5, 3})));
  CHECK_THROWS(conv.run(in.transpose(1, 2), out));
  CHECK_THROWS(conv.run(in.to(at::kBFloat16), out));
}
