// The streamed decoder: against diffusers' recorded videos, against the composed twin, and in
// pieces.
#include "models/vae/decoder.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>
#include <vector>

#include "models/vae/reference.h"
#include "ops/backend.h"
#include "support/compare.h"
#include "t2v/error.h"
#include "vae/vae_fixture.h"

namespace {

using t2v::models::vae::Decoder;
using t2v::models::vae::VaeSpec;
using t2v::testing::decode_in_steps;
using t2v::testing::max_error;
using t2v::testing::mismatch;
using t2v::testing::Tolerance;
using Fixture = t2v::testing::VaeFixture;

// The shortcuts of VAE 2.2 make larger numbers on the way: 2.1e-5 was measured.
constexpr Tolerance kFp32{.absolute = 3e-5, .relative = 0};

double distance(const at::Tensor& got, const at::Tensor& expected) {
  return ((got - expected).norm() / expected.norm()).item<double>();
}

// Chooses the back end for one scope.
struct ReferenceBackend {
  ReferenceBackend() { t2v::ops::set_backend(t2v::ops::OpBackend::kReference); }
  ~ReferenceBackend() { t2v::ops::set_backend(t2v::ops::OpBackend::kFused); }
};

const std::vector<std::string> kNames = {"narrow", "odd", "residual"};

}  // namespace

TEST_CASE("decoder = diffusers, fp32", "[vae][parity]") {
  for (const std::string& name : kNames) {
    const Fixture fixture(name);
    INFO(name);
    const at::Tensor got = decode_in_steps(fixture.decoder(at::kFloat), fixture.latents(), 1);
    at::Tensor expected = fixture.video();
    CHECK(mismatch(got, expected, kFp32) == "");
    // Negative control: one element off.
    expected[1][2][3][4] += 1e-3;
    CHECK(mismatch(got, expected, kFp32) != "");
  }
}

TEST_CASE("decoder in bf16 is as close to fp32 as diffusers' own bf16", "[vae][parity]") {
  for (const std::string& name : kNames) {
    const Fixture fixture(name);
    const double got = distance(
        decode_in_steps(fixture.decoder(at::kBFloat16), fixture.latents(), 1), fixture.video());
    INFO(name << ": " << got << ", diffusers " << fixture.bf16_distance());
    CHECK(got <= 1.25 * fixture.bf16_distance());
    CHECK(got > 1e-5);  // bf16 indeed
  }
}

TEST_CASE("decoder = composed twin", "[vae]") {
  for (const std::string& name : kNames) {
    const Fixture fixture(name);
    const at::Tensor latents = at::randn({fixture.spec.z_dim, 4, 5, 7});
    const at::Tensor expected =
        t2v::models::vae::reference::decode(fixture.spec, fixture.map, latents);
    CHECK(expected.size(1) == fixture.spec.num_frames(4));
    CHECK(mismatch(decode_in_steps(fixture.decoder(at::kFloat), latents, 1), expected, kFp32) ==
          "");
    const ReferenceBackend reference;
    CHECK(mismatch(decode_in_steps(fixture.decoder(at::kFloat), latents, 1), expected, kFp32) ==
          "");
  }
}

TEST_CASE("the twin itself = diffusers", "[vae][parity]") {
  for (const std::string& name : kNames) {
    const Fixture fixture(name);
    const at::Tensor got =
        t2v::models::vae::reference::decode(fixture.spec, fixture.map, fixture.latents());
    CHECK(mismatch(got, fixture.video(), kFp32) == "");
  }
}

TEST_CASE("decoding in pieces of any size gives the same bits", "[vae]") {
  const Fixture fixture("narrow");
  const at::Tensor latents = at::randn({fixture.spec.z_dim, 5, 2, 3});
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Decoder decoder = fixture.decoder(dtype);
    const at::Tensor whole = decode_in_steps(decoder, latents, 5);
    CHECK(at::equal(whole, decode_in_steps(decoder, latents, 1)));
    CHECK(at::equal(whole, decode_in_steps(decoder, latents, 2)));
  }
}

TEST_CASE("a later latent frame never changes an earlier frame", "[vae]") {
  const Fixture fixture("narrow");
  const Decoder decoder = fixture.decoder(at::kFloat);
  const at::Tensor latents = at::randn({fixture.spec.z_dim, 4, 2, 2});
  at::Tensor other = latents.clone();
  other.select(1, 3).add_(1);
  const at::Tensor a = decode_in_steps(decoder, latents, 1), b = decode_in_steps(decoder, other, 1);
  const int64_t same = fixture.spec.num_frames(3);
  CHECK(at::equal(a.narrow(1, 0, same), b.narrow(1, 0, same)));
  CHECK_FALSE(at::equal(a, b));
}

TEST_CASE("streams of one decoder do not see each other", "[vae]") {
  const Fixture fixture("narrow");
  const Decoder decoder = fixture.decoder(at::kFloat);
  const at::Tensor x = at::randn({fixture.spec.z_dim, 2, 2, 3}),
                   y = at::randn({fixture.spec.z_dim, 2, 4, 2});
  auto first = decoder.start(2, 3);
  auto second = decoder.start(4, 2);
  const at::Tensor a = first.next(x.narrow(1, 0, 1));
  const at::Tensor b = second.next(y.narrow(1, 0, 1));
  const at::Tensor c = first.next(x.narrow(1, 1, 1));
  CHECK(at::equal(at::cat({a, c}, 1), decode_in_steps(decoder, x, 1)));
  for (int i = 0; i < 6; ++i) CHECK(at::equal(b, decode_in_steps(decoder, y, 1).narrow(1, 0, 1)));
}

TEST_CASE("memory of a stream does not grow with the video's length", "[vae]") {
  const Fixture fixture("narrow");
  const Decoder decoder = fixture.decoder(at::kBFloat16);
  auto stream = decoder.start(4, 4);
  int64_t early = 0;
  for (int64_t i = 0; i < 12; ++i) {
    stream.next(at::randn({fixture.spec.z_dim, 1, 4, 4}));
    if (i == 2) early = stream.memory_bytes();
  }
  CHECK(early > 0);
  CHECK(stream.memory_bytes() == early);
}

TEST_CASE("denormalise", "[vae]") {
  const Fixture fixture("narrow");
  const at::Tensor got =
      t2v::models::vae::denormalise(fixture.spec, fixture.recorded.load("latents"));
  CHECK(mismatch(got, fixture.latents(), {.absolute = 1e-6, .relative = 1e-6}) == "");
}

TEST_CASE("the decoder lists what a checkpoint lacks, in one error", "[vae]") {
  const Fixture fixture("narrow");
  VaeSpec other = fixture.spec;
  other.num_res_blocks = 2;
  other.z_dim = 5;
  try {
    const Decoder decoder(other, fixture.map, at::kFloat, at::kCPU);
    FAIL("no error");
  } catch (const t2v::Error& error) {
    const std::string message = error.what();
    CHECK(error.kind() == t2v::ErrorKind::kModel);
    CHECK(message.find("resnets.2") != std::string::npos);
    CHECK(message.find("conv_in") != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("decoding is the same with either back end for convolutions, at a larger width",
          "[vae]") {
  const Fixture fixture("narrow");
  const at::Tensor latents = at::randn({fixture.spec.z_dim, 2, 4, 13});
  const at::Tensor fused = decode_in_steps(fixture.decoder(at::kFloat), latents, 1);
  const ReferenceBackend reference;
  CHECK(max_error(decode_in_steps(fixture.decoder(at::kFloat), latents, 1), fused) < 2e-5);
}
