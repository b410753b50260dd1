#include "pipeline/decode_stage.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>

#include <optional>

#include "core/check.h"
#include "models/vae/decoder.h"
#include "ops/frames.h"
#include "pipeline/sink_guard.h"

namespace t2v::pipeline {
namespace {

constexpr int64_t kNarrowBaseDim = 64;  // the published VAEs have 96

models::vae::Decoder load_decoder(const Model& model, Run& run) {
  const auto map = open_weights(model, "vae");
  std::optional<models::vae::Decoder> decoder;
  run.in_stage(Stage::kLoadVae, [&] {
    run.tell(Stage::kLoadVae, 0, 1);
    // fp16 would clip in the VAE; in a narrow VAE few channels share the rounding errors of bf16,
    // and fp32 costs little.
    const bool narrow = model.vae.decoder_base_dim < kNarrowBaseDim;
    const auto dtype =
        run.compute().dtype == at::kHalf || narrow ? at::kFloat : run.compute().dtype;
    decoder.emplace(model.vae, map, dtype, run.compute().device);
    run.tell(Stage::kLoadVae, 1, 1);
  });
  run.add_bytes_read(Stage::kLoadVae, map.bytes_read());
  return std::move(*decoder);
}

}  // namespace

void run_decode_stage(const Model& model, const at::Tensor& latents, const VideoFormat& format,
                      FrameSink* sink, Run& run) {
  SinkGuard guard(sink);
  const models::vae::Decoder decoder = load_decoder(model, run);
  const at::Tensor input = models::vae::denormalise(model.vae, latents);
  run.dump().add("vae_input", input.unsqueeze(0));
  std::vector<at::Tensor> video;
  std::vector<at::Tensor> video_rgb8;
  const auto encode = [&](const std::function<void()>& work) {
    if (sink) run.in_stage(Stage::kVideoEncode, work);
  };
  run.in_stage(Stage::kVaeDecode, [&] {
    encode([&] { sink->begin(format); });
    auto stream = decoder.start(input.size(2), input.size(3));
    int64_t done = 0;
    for (int64_t t = 0; t < input.size(1); ++t) {
      run.tell(Stage::kVaeDecode, done, format.num_frames);
      run.check_cancelled();
      const at::Tensor frames = stream.next(input.narrow(1, t, 1));
      T2V_REQUIRE(at::isfinite(frames).all().item<bool>(), ErrorKind::kNumeric,
                  "decoded frames hold NaN or infinite values (latent frame ", t,
                  "); try --dtype fp32");
      const at::Tensor rgb8 = ops::frames_to_rgb8(frames);
      done += frames.size(1);
      encode([&] { sink->write(rgb8.const_data_ptr<uint8_t>(), rgb8.size(0)); });
      if (run.dump().wanted()) {
        video.push_back(frames.to(at::kCPU));
        video_rgb8.push_back(rgb8);
      }
    }
    run.tell(Stage::kVaeDecode, done, format.num_frames);
  });
  if (run.dump().wanted()) {
    run.dump().add("video", at::cat(video, 1).unsqueeze(0));
    run.dump().add("frames_u8", at::cat(video_rgb8));
  }
  if (!sink) return;
  run.in_stage(Stage::kVideoEncode, [&] {
    run.tell(Stage::kVideoEncode, 0, 1);
    sink->finish();
    run.tell(Stage::kVideoEncode, 1, 1);
  });
  guard.release();
}

}  // namespace t2v::pipeline
