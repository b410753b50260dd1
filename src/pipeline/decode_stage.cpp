#include "pipeline/decode_stage.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <optional>

#include "core/check.h"
#include "models/vae/decoder.h"
#include "models/vae/tile_canvas.h"
#include "pipeline/clip_guard.h"
#include "pipeline/frame_return.h"
#include "pipeline/load_vae.h"
#include "pipeline/sink_guard.h"

namespace t2v::pipeline {
namespace {

// Takes frames to the sink and, where one is wanted, to the dump.
class Delivery {
 public:
  Delivery(const VideoFormat& format, FrameSink* sink, Run& run)
      : format_(format), sink_(sink), run_(run) {}

  void begin() const {
    encode([&] { sink_->begin(format_); });
  }
  void tell() const { run_.tell(Stage::kVaeDecode, done_, format_.num_frames); }
  void write(const at::Tensor& rgb8) {
    guard_.see(rgb8.const_data_ptr<uint8_t>(), rgb8.numel() / 3);
    encode([&] { sink_->write(rgb8.const_data_ptr<uint8_t>(), rgb8.size(0)); });
    done_ += rgb8.size(0);
    if (run_.dump().wanted()) video_rgb8_.push_back(rgb8.clone());
  }
  void require_picture() const { guard_.require_picture(); }
  void dump_frames(const at::Tensor& frames) {
    if (run_.dump().wanted()) video_.push_back(frames.to(at::kCPU));
  }
  void write_dump() const {
    if (!run_.dump().wanted()) return;
    run_.dump().add("video", at::cat(video_, 1).unsqueeze(0));
    run_.dump().add("frames_u8", at::cat(video_rgb8_));
  }

 private:
  void encode(const std::function<void()>& work) const {
    if (sink_) run_.in_stage(Stage::kVideoEncode, work);
  }

  const VideoFormat& format_;
  FrameSink* sink_;
  Run& run_;
  int64_t done_ = 0;  // frames
  ClipGuard guard_;
  std::vector<at::Tensor> video_, video_rgb8_;
};

// While a device decodes one chunk, the one before it is written.
void decode_whole(const models::vae::Decoder& decoder, const at::Tensor& latents,
                  Delivery& delivery, Run& run) {
  const auto& spec = decoder.spec();
  const int64_t scale = spec.spatial_factor();
  const at::Tensor input = latents.to(run.compute().device);  // once: each copy would wait
  auto stream = decoder.start(latents.size(2), latents.size(3));
  FrameReturn frame_return(run.compute().device, latents.size(2) * latents.size(3) * scale * scale,
                           spec.temporal_factor());
  for (int64_t t = 0; t < latents.size(1); ++t) {
    delivery.tell();
    run.check_cancelled();
    const at::Tensor frames = stream.next(input.narrow(1, t, 1));
    frame_return.send(frames, t);
    delivery.dump_frames(frames);
    if (frame_return.in_flight() == frame_return.capacity())
      delivery.write(frame_return.receive().rgb8);
  }
  while (frame_return.in_flight() > 0) delivery.write(frame_return.receive().rgb8);
}

void decode_in_tiles(const models::vae::Decoder& decoder, const at::Tensor& latents,
                     const models::vae::Tiling& tiling, Delivery& delivery, Run& run) {
  const auto& spec = decoder.spec();
  const int64_t num_frames = spec.num_frames(latents.size(1));
  const auto watch = [&](const at::Tensor& frames, int64_t latent_frame, int64_t done,
                         int64_t total) {
    run.tell(Stage::kVaeDecode, (done - 1) * num_frames / total, num_frames);
    run.check_cancelled();
    require_finite(at::isfinite(frames).all().item<bool>(), latent_frame);
  };
  const auto canvas = models::vae::decode_tiles(decoder, latents, tiling, watch);
  const int64_t step = spec.temporal_factor();
  for (int64_t first = 0; first < num_frames; first += step) {
    run.check_cancelled();
    const int64_t count = std::min(step, num_frames - first);
    delivery.write(canvas.rgb8(first, count));
    delivery.dump_frames(canvas.frames(first, count));
  }
}

}  // namespace

models::vae::Decoder load_decoder(const Model& model, Run& run) {
  return load_vae_half<models::vae::Decoder>(model, run, models::vae::decoder_dtype);
}

void run_decode_stage(const models::vae::Decoder& decoder, const at::Tensor& latents,
                      const models::vae::Tiling& tiling, const VideoFormat& format, FrameSink* sink,
                      Run& run) {
  SinkGuard guard(sink);
  const at::Tensor input = models::vae::denormalise(decoder.spec(), latents);
  run.dump().add("vae_input", input.unsqueeze(0));
  Delivery delivery(format, sink, run);
  run.in_stage(Stage::kVaeDecode, [&] {
    delivery.begin();
    if (tiling.is_tiled()) {
      decode_in_tiles(decoder, input, tiling, delivery, run);
    } else {
      decode_whole(decoder, input, delivery, run);
    }
    delivery.tell();
  });
  delivery.write_dump();
  delivery.require_picture();
  if (!sink) return;
  run.in_stage(Stage::kVideoEncode, [&] {
    run.tell(Stage::kVideoEncode, 0, 1);
    sink->finish();
    run.tell(Stage::kVideoEncode, 1, 1);
  });
  guard.release();
}

}  // namespace t2v::pipeline
