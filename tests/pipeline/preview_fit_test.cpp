// Preview factors found with a VAE's own encoder, against those fitted to the model's videos.
#include "pipeline/preview_fit.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "batch_host.h"
#include "pipeline/encode_stage.h"
#include "pipeline/latent_preview.h"
#include "pipeline/model.h"
#include "weights/checkpoint.h"
#include "weights/scratch.h"

using namespace t2v;
using namespace t2v::pipeline;
using test::MemorySink;
using test::Scratch;
using test::SilentListener;

namespace {

const EngineOptions kOptions{
    .model_path = T2V_MODELS "/shapes", .device = Device::kCpu, .dtype = Dtype::kFp32};

struct Video {
  at::Tensor latents;  // fp32 [z, T, h, w]
  at::Tensor colours;  // fp32 [T, h, w, 3], 0 to 255: means of the frames that each stands for
};

Video make_video(const std::string& prompt) {
  const Scratch scratch;
  const auto engine = open_engine(kOptions);
  Request request;
  request.prompt = prompt;
  request.seed = 3;
  request.steps = 12;
  MemorySink sink;
  SilentListener listener;
  engine->generate(engine->resolve(request),
                   {.sink = &sink, .save_latents_path = scratch / "latents.safetensors"}, listener,
                   {});
  Video video;
  const auto file = weights::Checkpoint::open(scratch / "latents.safetensors");
  video.latents = file.load("latents").to(at::kFloat).squeeze(0);
  const int64_t h = video.latents.size(2);
  const int64_t w = video.latents.size(3);
  const at::Tensor frames =
      at::from_blob(sink.bytes.data(), {sink.frames, h, 8, w, 8, 3}, at::kByte).to(at::kFloat);
  const at::Tensor small = frames.mean({2, 4});
  std::vector<at::Tensor> parts = {small.narrow(0, 0, 1)};
  for (int64_t t = 1; t < sink.frames; t += 4)
    parts.push_back(small.narrow(0, t, 4).mean(0, /*keepdim=*/true));
  video.colours = at::cat(parts);
  return video;
}

// Of 255.
double error_of(const Video& video, const PreviewFactors& factors) {
  const at::Tensor shown = preview_frames(video.latents, 1, factors).to(at::kFloat);
  REQUIRE(shown.sizes() == video.colours.sizes());
  return (shown - video.colours).square().mean().sqrt().item<double>();
}

}  // namespace

TEST_CASE("factors found with the VAE's encoder are as good as those fitted to videos") {
  const Model model = open_model(kOptions, open_storage(kOptions));
  SilentListener listener;
  const CancelToken cancel;
  Run run(Compute{}, listener, cancel, /*dump=*/false);
  const auto encoder = load_encoder(model, run);
  const PreviewFactors found = fit_preview_factors(encoder, run);
  CHECK(found.num_channels() == model.vae.z_dim);
  CHECK(fit_preview_factors(encoder, run).matrix().equal(found.matrix()));
  const PreviewFactors own = preview_factors_of(model).value();
  double found_error = 0;
  double own_error = 0;
  double grey_error = 0;
  for (const char* prompt :
       {"a red circle moves right on a black background", "a blue star spins on a white background",
        "a green square moves up on a yellow background"}) {
    const Video video = make_video(prompt);
    found_error += error_of(video, found);
    own_error += error_of(video, own);
    const std::vector<PreviewFactors::Colour> none(static_cast<size_t>(model.vae.z_dim));
    grey_error += error_of(video, PreviewFactors(none, {0, 0, 0}));
  }
  CAPTURE(found_error / 3, own_error / 3, grey_error / 3);
  CHECK(found_error < 1.2 * own_error);
  CHECK(found_error < 0.4 * grey_error);
}
