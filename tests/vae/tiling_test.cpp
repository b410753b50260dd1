// Tiles: where they lie, what they weigh, how close the blended video is to the whole one.
#include "models/vae/tiling.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "models/vae/decode_bytes.h"
#include "models/vae/tile_canvas.h"
#include "support/compare.h"
#include "vae/vae_fixture.h"

namespace {

using namespace t2v::models::vae;
using t2v::testing::decode_in_steps;
using Fixture = t2v::testing::VaeFixture;

void ignore(const at::Tensor& /*frames*/, int64_t /*latent*/, int64_t /*done*/, int64_t /*total*/) {
}

// Of pictures in [-1, 1].
double psnr(const at::Tensor& a, const at::Tensor& b) {
  return 10 * std::log10(4 / (a - b).square().mean().item<double>());
}

// Smooth in space and time, as latents are.
at::Tensor smooth_latents(int64_t z_dim, int64_t frames, int64_t height, int64_t width) {
  at::manual_seed(11);
  const at::Tensor small = at::randn({1, z_dim, frames, height / 8, width / 8});
  return at::upsample_trilinear3d(small, {frames, height, width}, false).squeeze(0) * 1.5;
}

}  // namespace

TEST_CASE("tiles cover the picture, are equally large and overlap", "[tiling]") {
  for (const int64_t extent : {1, 8, 24, 39, 40, 41, 60, 90, 160, 161}) {
    for (int64_t count = 1; count <= max_tiles(extent); ++count) {
      INFO(extent << " in " << count);
      const auto spans = tile_spans(extent, count);
      REQUIRE(static_cast<int64_t>(spans.size()) == count);
      CHECK(spans.front().begin == 0);
      CHECK(spans.back().begin + spans.back().extent == extent);
      for (size_t i = 1; i < spans.size(); ++i) {
        CHECK(spans[i].extent == spans[0].extent);
        CHECK(spans[i].extent >= kMinTileExtent);
        CHECK(spans[i].begin + kTileOverlap <= spans[i - 1].begin + spans[i - 1].extent);
      }
      std::vector<double> sums(static_cast<size_t>(extent * 8), 0.0);
      const auto weights = tile_weights(spans, 8);
      for (size_t t = 0; t < spans.size(); ++t)
        for (size_t i = 0; i < weights[t].size(); ++i) {
          CHECK(weights[t][i] > 0);
          sums[static_cast<size_t>(spans[t].begin) * 8 + i] += static_cast<double>(weights[t][i]);
        }
      for (const double sum : sums) CHECK(std::abs(sum - 1) < 1e-6);
    }
  }
  CHECK(max_tiles(23) == 1);
  CHECK(max_tiles(40) == 2);
  CHECK(small_tiles(90, 160) == Tiling{.rows = 4, .columns = 7});
  CHECK(small_tiles(30, 32) == Tiling{});
}

TEST_CASE("the canvas does not depend on the order of tiles", "[tiling]") {
  const auto rows = tile_spans(40, 2), columns = tile_spans(56, 3);
  const auto row_weights = tile_weights(rows, 1), column_weights = tile_weights(columns, 1);
  const at::Tensor video = at::rand({3, 2, 40, 56}) * 2 - 1;
  const auto paint = [&](bool backwards) {
    TileCanvas canvas(3, 40, 56);
    for (size_t k = 0; k < 6; ++k) {
      const size_t i = backwards ? 5 - k : k, r = i / 3, c = i % 3;
      // Tiles that differ where they overlap.
      const at::Tensor tile = video.narrow(2, rows[r].begin, rows[r].extent)
                                  .narrow(3, columns[c].begin, columns[c].extent) *
                              (1 - 0.1 * static_cast<double>(i));
      canvas.add(tile, {.frame = 1,
                        .y = rows[r].begin,
                        .x = columns[c].begin,
                        .row_weights = row_weights[r],
                        .column_weights = column_weights[c]});
    }
    return canvas.rgb8(0, 3);
  };
  const at::Tensor one = paint(false);
  CHECK(at::equal(one, paint(true)));
  CHECK(one.select(0, 0).max().item<uint8_t>() == 0);  // nothing was painted there
}

TEST_CASE("the canvas gives equal tiles back, to the ends of the range", "[tiling]") {
  const auto rows = tile_spans(40, 2), columns = tile_spans(40, 2);
  const auto row_weights = tile_weights(rows, 2), column_weights = tile_weights(columns, 2);
  at::Tensor video = at::rand({3, 1, 80, 80}) * 2 - 1;
  video.narrow(2, 0, 30).fill_(1);
  video.narrow(2, 30, 20).fill_(-1);
  TileCanvas canvas(1, 80, 80);
  for (size_t r = 0; r < 2; ++r)
    for (size_t c = 0; c < 2; ++c)
      canvas.add(video.narrow(2, rows[r].begin * 2, rows[r].extent * 2)
                     .narrow(3, columns[c].begin * 2, columns[c].extent * 2),
                 {.frame = 0,
                  .y = rows[r].begin * 2,
                  .x = columns[c].begin * 2,
                  .row_weights = row_weights[r],
                  .column_weights = column_weights[c]});
  // Four parts are rounded to 1/256 of a step each.
  CHECK(t2v::testing::max_error(canvas.frames(0, 1), video) <= 2.01 * 2 / (255 * 256));
  const at::Tensor exact = (video.permute({1, 2, 3, 0}) / 2 + 0.5) * 255;
  CHECK((canvas.rgb8(0, 1).to(at::kFloat) - exact).abs().max().item<float>() < 0.51F);
}

TEST_CASE("a tiled video is close to the whole one", "[tiling]") {
  const std::string folder = std::string(T2V_SOURCE_DIR) + "/models/shapes/vae";
  const VaeSpec spec = read_vae_spec(folder + "/config.json");
  const auto map = t2v::weights::WeightMap::open(folder, t2v::weights::ModelPart::kVae, "vae");
  const at::Tensor latents = smooth_latents(spec.z_dim, 2, 40, 40);
  const Decoder decoder(spec, map, at::kFloat, at::kCPU);
  const at::Tensor whole = decode_in_steps(decoder, latents, 1);
  int64_t chunks = 0;
  const auto watch = [&](const at::Tensor& frames, int64_t latent, int64_t done, int64_t total) {
    CHECK(frames.size(1) == (latent == 0 ? 1 : 4));
    CHECK(done == ++chunks);
    CHECK(total == 8);
  };
  const auto canvas = decode_tiles(decoder, latents, {.rows = 2, .columns = 2}, watch);
  CHECK(chunks == 8);
  const at::Tensor tiled = canvas.frames(0, spec.num_frames(2));
  const double quality = psnr(tiled, whole);
  WARN("tiled against whole: " << quality << " dB");
  CHECK(quality > 40);
  // No seams: along the middle of the overlap, steps between neighbours are as they are elsewhere.
  const auto steps = [](const at::Tensor& video) {
    return video.diff(1, 3).abs().mean(at::IntArrayRef{0, 1, 2});
  };
  const at::Tensor a = steps(tiled), b = steps(whole);
  CHECK((a - b).abs().max().item<float>() < 0.5F * b.max().item<float>());
}

TEST_CASE("one tile is the whole, to the canvas' rounding", "[tiling]") {
  const Fixture fixture("narrow");
  const Decoder decoder = fixture.decoder(at::kFloat);
  const at::Tensor latents = at::randn({fixture.spec.z_dim, 3, 4, 5});
  const auto canvas = decode_tiles(decoder, latents, {}, ignore);
  const at::Tensor got = canvas.frames(0, fixture.spec.num_frames(3));
  CHECK(t2v::testing::max_error(got, decode_in_steps(decoder, latents, 1)) < 1e-4);
}

TEST_CASE("choose_tiling takes the least work that fits", "[tiling]") {
  VaeSpec spec = Fixture("narrow").spec;
  spec.decoder_base_dim = 96;
  spec.z_dim = 16;
  spec.num_res_blocks = 2;
  for (const NetworkForm form : {NetworkForm::kFrames, NetworkForm::kChunks}) {
    const DecodeJob job{
        .num_latents = 21, .height = 90, .width = 160, .dtype = at::kBFloat16, .form = form};
    const int64_t whole = decode_work_bytes(spec, job, {});
    INFO("whole: " << whole);
    CHECK(whole > int64_t{6} << 30);
    CHECK(whole < int64_t{10} << 30);
    CHECK(choose_tiling(spec, job, whole) == Tiling{});
    int64_t before = 0;
    for (const int64_t gib : {8, 6, 4, 3, 2}) {
      const int64_t budget = std::min(whole - 1, gib << 30);
      const auto tiling = choose_tiling(spec, job, budget);
      REQUIRE(tiling);
      CHECK(tiling->is_tiled());
      const int64_t canvas = decode_canvas_bytes(spec, job, *tiling);
      CHECK(canvas == int64_t{81} * 720 * 1280 * 6 + int64_t{21} * 90 * 160 * 384 * 2);
      CHECK(decode_work_bytes(spec, job, *tiling) + (form == NetworkForm::kChunks ? canvas : 0) <=
            budget);
      CHECK(tiling->rows * tiling->columns >= before);
      before = tiling->rows * tiling->columns;
    }
    CHECK_FALSE(choose_tiling(spec, job, 1 << 20));
    const Tiling least = smallest_tiling(spec, job);
    CHECK(decode_work_bytes(spec, job, least) < whole / 8);
  }
}
