// The streamed encoder: against diffusers' recorded latents, against the composed twin, and with
// the decoder behind it.
#include "models/vae/encoder.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "models/vae/encode_bytes.h"
#include "models/vae/reference.h"
#include "support/compare.h"
#include "t2v/error.h"
#include "vae/vae_fixture.h"

namespace {

using t2v::models::vae::Encoder;
using t2v::models::vae::VaeSpec;
using t2v::testing::max_error;
using t2v::testing::mismatch;
using t2v::testing::Tolerance;
using Fixture = t2v::testing::VaeFixture;

constexpr Tolerance kFp32{.absolute = 2e-5, .relative = 2e-5};
const std::vector<std::string> kNames = {"whole", "residual"};

Encoder encoder_of(const Fixture& fixture, at::ScalarType dtype = at::kFloat) {
  return {fixture.spec, fixture.map, dtype, at::kCPU};
}

// As the program does it: bytes -> [3, F, H, W] in [-1, 1].
at::Tensor recorded_frames(const Fixture& fixture) {
  return fixture.recorded.load("frames_u8").permute({3, 0, 1, 2}).to(at::kFloat) / 127.5 - 1;
}

at::Tensor encode_all(const Encoder& encoder, const at::Tensor& frames) {
  auto stream = encoder.start();
  const int64_t step = encoder.spec().temporal_factor();
  std::vector<at::Tensor> parts = {stream.next(frames.narrow(1, 0, 1))};
  for (int64_t i = 1; i < frames.size(1); i += step)
    parts.push_back(stream.next(frames.narrow(1, i, step)).clone());
  return at::cat(parts, 1);
}

// A bright disc that moves over a dark ground.
at::Tensor moving_disc(int64_t frames, int64_t side) {
  const at::Tensor ys = at::arange(side).view({1, side, 1}),
                   xs = at::arange(side).view({1, 1, side});
  const at::Tensor at_x = at::arange(frames).view({frames, 1, 1}) * 2 + side / 4;
  const at::Tensor far = (xs - at_x).pow(2) + (ys - side / 2).pow(2);
  const at::Tensor disc = (far < side * side / 25).to(at::kFloat);
  return at::stack({disc * 1.8 - 0.9, disc * 0.6 - 0.9, disc * 0.2 - 0.9});
}

}  // namespace

TEST_CASE("encoder = diffusers, fp32", "[vae][parity]") {
  for (const std::string& name : kNames) {
    const Fixture fixture(name);
    INFO(name);
    const at::Tensor got = encode_all(encoder_of(fixture), recorded_frames(fixture));
    at::Tensor expected = fixture.recorded.load("mean");
    CHECK(mismatch(got, expected, kFp32) == "");
    // Negative control: one element off.
    expected[1][2][1][1] += 1e-3;
    CHECK(mismatch(got, expected, kFp32) != "");
  }
}

TEST_CASE("the encoder's twin = diffusers", "[vae][parity]") {
  for (const std::string& name : kNames) {
    const Fixture fixture(name);
    const at::Tensor got =
        t2v::models::vae::reference::encode(fixture.spec, fixture.map, recorded_frames(fixture));
    CHECK(mismatch(got, fixture.recorded.load("mean"), kFp32) == "");
  }
}

TEST_CASE("encoder = composed twin, any length, and near it in bf16", "[vae]") {
  for (const std::string& name : kNames) {
    const Fixture fixture(name);
    const int64_t scale = fixture.spec.spatial_factor();
    for (const int64_t frames : {1, 5, 17}) {
      const at::Tensor video = at::rand({3, frames, scale, 3 * scale}) * 2 - 1;
      const at::Tensor expected =
          t2v::models::vae::reference::encode(fixture.spec, fixture.map, video);
      CHECK(expected.size(1) == (frames - 1) / 4 + 1);
      CHECK(mismatch(encode_all(encoder_of(fixture), video), expected, kFp32) == "");
      const at::Tensor narrow = encode_all(encoder_of(fixture, at::kBFloat16), video);
      const double distance = ((narrow - expected).norm() / expected.norm()).item<double>();
      CHECK(distance < 0.1);
      CHECK(distance > 1e-5);  // bf16 indeed
    }
  }
}

TEST_CASE("a later frame never changes an earlier latent frame", "[vae]") {
  const Fixture fixture("residual");
  const Encoder encoder = encoder_of(fixture);
  const at::Tensor frames = at::rand({3, 13, 16, 16}) * 2 - 1;
  at::Tensor other = frames.clone();
  other.narrow(1, 9, 4).mul_(-1);
  const at::Tensor a = encode_all(encoder, frames), b = encode_all(encoder, other);
  CHECK(at::equal(a.narrow(1, 0, 3), b.narrow(1, 0, 3)));
  CHECK_FALSE(at::equal(a, b));
}

TEST_CASE("memory of an encoder's stream does not grow, and is what the plan says", "[vae]") {
  for (const std::string& name : kNames) {
    const Fixture fixture(name);
    const Encoder encoder = encoder_of(fixture);
    auto stream = encoder.start();
    const int64_t side = 2 * fixture.spec.spatial_factor();
    stream.next(at::zeros({3, 1, side, side}));
    stream.next(at::zeros({3, 4, side, side}));
    const int64_t early = stream.memory_bytes();
    for (int i = 0; i < 4; ++i) stream.next(at::rand({3, 4, side, side}));
    CHECK(stream.memory_bytes() == early);
    const int64_t planned = t2v::models::vae::encode_work_bytes(
        fixture.spec, {.height = side, .width = side, .dtype = at::kFloat});
    CHECK(planned >= early);
    CHECK(planned < 4 * early);
  }
}

TEST_CASE("the shipped VAE: decoded again, an encoded clip is near itself", "[vae]") {
  const std::string folder = T2V_MODELS "/shapes/vae";
  const VaeSpec spec = t2v::models::vae::read_vae_spec(folder + "/config.json");
  const auto map = t2v::weights::WeightMap::open(folder + "/diffusion_pytorch_model.safetensors",
                                                 t2v::weights::ModelPart::kVae, "vae");
  const at::Tensor clip = moving_disc(9, 64);
  const at::Tensor mean = encode_all(Encoder(spec, map, at::kFloat, at::kCPU), clip);
  // Unit variance for the denoiser and back is no change.
  const at::Tensor latents =
      t2v::models::vae::denormalise(spec, t2v::models::vae::normalise(spec, mean));
  CHECK(max_error(latents, mean) < 1e-5);
  const t2v::models::vae::Decoder decoder(spec, map, at::kFloat, at::kCPU);
  const at::Tensor again = t2v::testing::decode_in_steps(decoder, latents, 1);
  REQUIRE(again.sizes() == clip.sizes());
  const double mse = (again - clip).pow(2).mean().item<double>();
  CHECK(10 * std::log10(4 / mse) > 25);  // dB; peak to peak is 2
}

TEST_CASE("a VAE without an encoder says so", "[vae]") {
  const Fixture fixture("narrow");
  try {
    encoder_of(fixture);
    FAIL("no error");
  } catch (const t2v::Error& error) {
    CHECK(error.kind() == t2v::ErrorKind::kModel);
    CHECK(std::string(error.what()).find("has no encoder") != std::string::npos);
  }
}
