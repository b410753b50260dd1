// The decoder on a real device: against the CPU, in pieces, in tiles, its memory, and the way of
// frames to the host. Without a device this program says SKIPPED.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <limits>

#include "models/vae/decode_bytes.h"
#include "models/vae/tile_canvas.h"
#include "ops/conv2d.h"
#include "ops/device.h"
#include "ops/frames.h"
#include "pipeline/frame_return.h"
#include "support/compare.h"
#include "support/gpu_device.h"
#include "t2v/error.h"
#include "vae/vae_fixture.h"

namespace {

using namespace t2v::models::vae;
using t2v::support::have_gpu;
using t2v::support::tiny_shapes_only;
using t2v::testing::decode_in_steps;
using t2v::testing::max_error;
using t2v::testing::mismatch;
using t2v::testing::VaeFixture;

const at::Device kGpu(at::kCUDA, 0);

// The shipped model's VAE.
struct Shipped {
  std::string folder = std::string(T2V_SOURCE_DIR) + "/models/shapes/vae";
  VaeSpec spec = read_vae_spec(folder + "/config.json");
  t2v::weights::WeightMap map =
      t2v::weights::WeightMap::open(folder, t2v::weights::ModelPart::kVae, "vae");
};

double distance(const at::Tensor& got, const at::Tensor& expected) {
  return ((got - expected).norm() / expected.norm()).item<double>();
}

void ignore(const at::Tensor& /*frames*/, int64_t /*latent*/, int64_t /*done*/, int64_t /*total*/) {
}

}  // namespace

TEST_CASE("Conv2d on the device errs at most twice as far as on the CPU", "[gpu][vae]") {
  if (!have_gpu()) return;
  struct Case {
    int64_t in, out, kernel, height, width;
  };
  for (const Case& c : {Case{48, 384, 3, 9, 13}, Case{288, 96, 3, 17, 33}, Case{288, 3, 3, 8, 8},
                        Case{15, 10, 3, 5, 7}, Case{1152, 768, 1, 6, 10}, Case{192, 384, 2, 7, 9},
                        Case{3, 5, 1, 1, 1}}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      at::manual_seed(static_cast<uint64_t>(c.in));
      const at::Tensor weight = at::randn({c.out, c.in, c.kernel, c.kernel}) /
                                std::sqrt(static_cast<double>(c.in * c.kernel * c.kernel));
      const at::Tensor in =
          at::randn({1, c.height + c.kernel - 1, c.width + c.kernel - 1, c.in}).to(dtype);
      const t2v::ops::Conv2d conv(weight, dtype, kGpu);
      const at::Tensor out = at::full({1, c.height, c.width, conv.padded_out_channels()}, NAN,
                                      at::TensorOptions().dtype(dtype).device(kGpu));
      conv.run(in.to(kGpu), out);
      const at::Tensor truth =
          at::conv2d(in.to(at::kDouble).permute({0, 3, 1, 2}), weight.to(dtype).to(at::kDouble))
              .permute({0, 2, 3, 1});
      const at::Tensor got = out.to(at::kCPU).to(at::kDouble);
      INFO(c.in << " to " << c.out << ", kernel " << c.kernel << ", " << dtype);
      const double rounding = max_error(truth.to(dtype).to(at::kDouble), truth);
      CHECK(max_error(got.narrow(3, 0, c.out), truth) <= 2 * rounding + 2e-5);
      if (got.size(3) > c.out)
        CHECK(got.narrow(3, c.out, got.size(3) - c.out).abs().max().item<double>() == 0);
    }
  }
}

TEST_CASE("decoder on the device = CPU, fp32", "[gpu][vae]") {
  if (!have_gpu()) return;
  for (const std::string name : {"narrow", "odd"}) {
    const VaeFixture fixture(name);
    const Decoder decoder(fixture.spec, fixture.map, at::kFloat, kGpu);
    INFO(name);
    CHECK(mismatch(decode_in_steps(decoder, fixture.latents(), 1), fixture.video(),
                   {.absolute = 2e-4, .relative = 0}) == "");
  }
  const Shipped shipped;
  const int64_t side = tiny_shapes_only() ? 4 : 20;
  const at::Tensor latents = at::randn({shipped.spec.z_dim, 3, side, side + 3});
  const at::Tensor expected =
      decode_in_steps(Decoder(shipped.spec, shipped.map, at::kFloat, at::kCPU), latents, 1);
  const at::Tensor got =
      decode_in_steps(Decoder(shipped.spec, shipped.map, at::kFloat, kGpu), latents, 1);
  CHECK(mismatch(got, expected, {.absolute = 5e-4, .relative = 0}) == "");
}

TEST_CASE("decoder in bf16 on the device is as close to fp32 as on the CPU", "[gpu][vae]") {
  if (!have_gpu()) return;
  const Shipped shipped;
  const int64_t side = tiny_shapes_only() ? 4 : 20;
  const at::Tensor latents = at::randn({shipped.spec.z_dim, 3, side, side});
  const auto decoded = [&](at::ScalarType dtype, at::Device device) {
    return decode_in_steps(Decoder(shipped.spec, shipped.map, dtype, device), latents, 1);
  };
  const at::Tensor truth = decoded(at::kFloat, at::kCPU);
  const double on_device = distance(decoded(at::kBFloat16, kGpu), truth);
  const double on_cpu = distance(decoded(at::kBFloat16, at::kCPU), truth);
  WARN("bf16 against fp32: " << on_device << " on the device, " << on_cpu << " on the CPU");
  CHECK(on_device <= 1.5 * on_cpu);
  CHECK(on_device > 1e-5);
}

TEST_CASE("the same bits again, in pieces of any size, in constant memory", "[gpu][vae]") {
  if (!have_gpu()) return;
  const Shipped shipped;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Decoder decoder(shipped.spec, shipped.map, dtype, kGpu);
    const at::Tensor latents = at::randn({shipped.spec.z_dim, 5, 4, 6});
    const at::Tensor one = decode_in_steps(decoder, latents, 1);
    CHECK(at::equal(one, decode_in_steps(decoder, latents, 1)));
    CHECK(at::equal(one, decode_in_steps(decoder, latents, 5)));
    auto stream = decoder.start(4, 6);
    const int64_t bytes = stream.memory_bytes();
    for (int64_t t = 0; t < 5; ++t) stream.next(latents.narrow(1, t, 1));
    CHECK(stream.memory_bytes() == bytes);
  }
}

TEST_CASE("decoding takes the device memory that was predicted, and workspace", "[gpu][vae]") {
  if (!have_gpu() || tiny_shapes_only()) return;
  constexpr int64_t kWorkspace = int64_t{256} << 20;
  const Shipped shipped;
  const Decoder decoder(shipped.spec, shipped.map, at::kBFloat16, kGpu);
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{60, 104}, {90, 160}}) {
    t2v::ops::release_device_cache(kGpu);
    t2v::ops::reset_device_peak(kGpu);
    const int64_t before = t2v::ops::device_peak_bytes(kGpu);
    auto stream = decoder.start(height, width);
    for (int64_t t = 0; t < 3; ++t)
      stream.next(at::randn({shipped.spec.z_dim, 1, height, width})).sum().item<float>();
    const int64_t measured = t2v::ops::device_peak_bytes(kGpu) - before;
    const DecodeJob job{.num_latents = 3,
                        .height = height,
                        .width = width,
                        .dtype = at::kBFloat16,
                        .form = NetworkForm::kFrames};
    const int64_t predicted = decode_work_bytes(shipped.spec, job, {});
    WARN(height << " x " << width << ": predicted " << predicted << ", measured " << measured);
    CHECK(measured <= predicted + kWorkspace);
    CHECK(measured >= predicted - predicted / 10);
  }
}

TEST_CASE("tiles on the device = tiles on the CPU", "[gpu][vae]") {
  if (!have_gpu() || tiny_shapes_only()) return;
  const Shipped shipped;
  const at::Tensor latents = at::randn({shipped.spec.z_dim, 2, 40, 24});
  const Tiling tiling{.rows = 2, .columns = 1};
  const auto painted = [&](at::Device device) {
    const Decoder decoder(shipped.spec, shipped.map, at::kFloat, device);
    return decode_tiles(decoder, latents, tiling, ignore).frames(0, 5);
  };
  CHECK(max_error(painted(kGpu), painted(at::kCPU)) < 1e-3);
}

TEST_CASE("frames travel while the next ones are made", "[gpu][frames]") {
  if (!have_gpu()) return;
  t2v::pipeline::FrameReturn frame_return(kGpu, 24 * 40, 4);
  REQUIRE(frame_return.capacity() == 2);
  std::vector<at::Tensor> expected;
  for (int64_t t = 0; t < 7; ++t) {
    const at::Tensor frames = at::rand({3, t == 0 ? 1 : 4, 24, 40}) * 2.2 - 1.1;
    expected.push_back(t2v::ops::frames_to_rgb8(frames));
    frame_return.send(frames.to(kGpu), t);
    if (frame_return.in_flight() < 2) continue;
    const auto chunk = frame_return.receive();
    CHECK(chunk.latent_frame == t - 1);
    CHECK(at::equal(chunk.rgb8, expected[static_cast<size_t>(t - 1)]));
  }
  CHECK(at::equal(frame_return.receive().rgb8, expected.back()));
  at::Tensor bad = at::zeros({3, 1, 24, 40});
  bad[2][0][5][6] = std::numeric_limits<float>::quiet_NaN();
  frame_return.send(bad.to(kGpu), 9);
  try {
    frame_return.receive();
    FAIL("no error");
  } catch (const t2v::Error& error) {
    CHECK(error.kind() == t2v::ErrorKind::kNumeric);
    CHECK(std::string(error.what()).find("latent frame 9") != std::string::npos);
  }
  frame_return.send(at::zeros({3, 1, 24, 40}, at::TensorOptions().device(kGpu)), 10);
  CHECK(frame_return.receive().latent_frame == 10);  // the counter starts anew
}
