// Saved latents of any program, and their linear preview against an independent one.
#include "pipeline/latent_preview.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "memory_sink.h"
#include "pipeline/initial_noise.h"
#include "t2v/engine.h"
#include "weights/checkpoint.h"
#include "weights/safetensors_writer.h"
#include "weights/scratch.h"

using namespace t2v;
using t2v::test::MemorySink;
using t2v::test::message_of;
using t2v::test::Scratch;

namespace {

const std::string kFolder = T2V_FIXTURES "/latents/";

pipeline::PreviewFactors wan21() { return pipeline::published_preview_factors(16).value(); }

Report preview(const std::string& path, double fps, FrameSink& sink) {
  test::SilentListener listener;
  const CancelToken cancel;
  return preview_latents(path, fps, sink, listener, cancel);
}

}  // namespace

TEST_CASE("the preview of real latents is that of another program") {
  const auto file = weights::Checkpoint::open(kFolder + "preview.safetensors");
  const at::Tensor wanted = file.load("rgb").to(at::kInt);
  const at::Tensor got = pipeline::preview_frames(file.load("latents"), 1, wan21()).to(at::kInt);
  REQUIRE(got.sizes() == wanted.sizes());
  const at::Tensor error = (got - wanted).abs();
  CHECK(error.max().item<int>() <= 1);
  CHECK(error.to(at::kDouble).mean().item<double>() < 0.02);
  // Negative control: the comparison sees one wrong channel.
  const at::Tensor other = file.load("latents").clone();
  other.select(0, 3).neg_();
  const at::Tensor wrong = pipeline::preview_frames(other, 1, wan21()).to(at::kInt);
  CHECK((wrong - wanted).abs().to(at::kDouble).mean().item<double>() > 5);
}

TEST_CASE("previews are enlarged by whole pixels") {
  const at::Tensor latents = at::randn({16, 2, 3, 4});
  const at::Tensor small = pipeline::preview_frames(latents, 1, wan21());
  const at::Tensor large = pipeline::preview_frames(latents, 8, wan21());
  CHECK(large.sizes() == at::IntArrayRef({2, 24, 32, 3}));
  CHECK(large.is_contiguous());
  CHECK(large.slice(1, 5, std::nullopt, 8).slice(2, 7, std::nullopt, 8).equal(small));
  CHECK_FALSE(pipeline::published_preview_factors(5).has_value());
}

TEST_CASE("a preview needs no model and makes one frame a latent frame") {
  MemorySink sink;
  const Report report = preview(kFolder + "preview.safetensors", 0, sink);
  CHECK(sink.finished);
  CHECK(sink.format.width == 240);
  CHECK(sink.format.height == 128);
  CHECK(sink.format.num_frames == 2);
  CHECK(sink.format.fps == 4.0);
  CHECK(sink.bytes.size() == size_t{2} * 240 * 128 * 3);
  CHECK(report.recipe.frames == 2);
  MemorySink faster;
  preview(kFolder + "preview.safetensors", 12, faster);
  CHECK(faster.format.fps == 12.0);
}

TEST_CASE("torch archives: a bare tensor or a dict, with or without a leading 1") {
  const auto bare = pipeline::read_latents(kFolder + "bare.pth");
  const auto dict = pipeline::read_latents(kFolder + "samples.pth");
  CHECK(bare.latents.sizes() == at::IntArrayRef({16, 2, 2, 3}));
  CHECK(bare.latents.scalar_type() == at::kFloat);
  CHECK(bare.latents.equal(dict.latents));
  MemorySink sink;
  preview(kFolder + "bare.pth", 0, sink);
  CHECK(sink.finished);
}

TEST_CASE("what are no latents is refused before a frame is written") {
  const Scratch scratch;
  const auto refusal = [&](const at::Tensor& tensor, const std::string& name = "latents") {
    weights::write_safetensors(scratch / "x.safetensors", {{name, tensor}});
    MemorySink sink;
    const std::string message =
        message_of([&] { preview(scratch / "x.safetensors", 0, sink); }, ErrorKind::kInput);
    CHECK(sink.format.num_frames == 0);
    return message;
  };
  CHECK_THAT(refusal(at::ones({5, 1, 2, 2})), Catch::Contains("5 channels"));
  CHECK_THAT(refusal(at::ones({2, 16, 1, 2, 2})), Catch::Contains("expected [channels"));
  CHECK_THAT(refusal(at::ones({16, 1, 2, 2}), "weights"), Catch::Contains("no tensor 'latents'"));
  CHECK_THAT(refusal(at::full({16, 1, 2, 2}, NAN)), Catch::Contains("NaN"));
  CHECK_THAT(refusal(at::ones({16, 1, 2, 2}).to(at::kInt)), Catch::Contains("float"));
}

TEST_CASE("the frame rate comes from the recipe beside the latents") {
  const Scratch scratch;
  pipeline::write_latents(scratch / "x.safetensors", at::zeros({16, 1, 2, 2}), R"({"fps": 24})");
  MemorySink sink;
  preview(scratch / "x.safetensors", 0, sink);
  CHECK(sink.format.fps == 6.0);
  pipeline::write_latents(scratch / "y.safetensors", at::zeros({16, 1, 2, 2}), "no json");
  CHECK_FALSE(pipeline::read_latents(scratch / "y.safetensors").fps);
}
