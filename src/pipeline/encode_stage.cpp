#include "pipeline/encode_stage.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/isfinite.h>

#include <optional>
#include <utility>

#include "core/check.h"
#include "pipeline/load_vae.h"

namespace t2v::pipeline {
namespace {

using models::vae::Encoder;

// Latent frame by latent frame.
class Latents {
 public:
  Latents(const Encoder& encoder, Run& run)
      : encoder_(encoder), stream_(encoder.start()), run_(run) {}

  // The frames of the next latent frame, each fp32 [3, 1, H, W].
  void add(const std::vector<at::Tensor>& frames) {
    run_.check_cancelled();
    const at::Tensor mean = stream_.next(frames.size() == 1 ? frames[0] : at::cat(frames, 1));
    T2V_REQUIRE(at::isfinite(mean).all().item<bool>(), ErrorKind::kNumeric,
                "the VAE's encoder gave NaN or infinite values (latent frame ", parts_.size(),
                "); try --dtype fp32");
    parts_.push_back(models::vae::normalise(encoder_.spec(), mean).to(at::kCPU));
  }
  [[nodiscard]] at::Tensor all() const { return at::cat(parts_, 1).contiguous(); }

 private:
  const Encoder& encoder_;
  models::vae::EncodeStream stream_;
  Run& run_;
  std::vector<at::Tensor> parts_;
};

std::string nearest(int64_t value, int64_t step) {
  const int64_t below = value / step * step;
  return below == 0 ? core::str(step) : core::str(below, " or ", below + step);
}

void require_length(int64_t num_frames, int64_t step) {
  T2V_REQUIRE((num_frames - 1) % step == 0, ErrorKind::kInput, "the video has ", num_frames,
              " frames, expected ", step, "n+1; try --frames ", (num_frames - 1) / step * step + 1,
              " for the first ones alone");
}

}  // namespace

Encoder load_encoder(const Model& model, Run& run) {
  return load_vae_half<Encoder>(model, run, models::vae::encoder_dtype);
}

at::Tensor frame_tensor(const std::vector<uint8_t>& rgb, int64_t height, int64_t width) {
  T2V_ASSERT(rgb.size() == static_cast<size_t>(height * width * 3));
  const at::Tensor bytes =
      at::from_blob(const_cast<uint8_t*>(rgb.data()), {height, width, 3}, at::kByte);  // only read
  return (bytes.to(at::kFloat) / 127.5 - 1).permute({2, 0, 1}).unsqueeze(1);
}

at::Tensor encode_frames(const Encoder& encoder, int64_t num_frames,
                         const std::function<at::Tensor(int64_t)>& frame, Run& run) {
  const int64_t step = encoder.spec().temporal_factor();
  T2V_ASSERT(num_frames >= 1 && (num_frames - 1) % step == 0);
  at::Tensor latents;
  run.in_stage(Stage::kVaeEncode, [&] {
    Latents made(encoder, run);
    for (int64_t next = 0; next < num_frames;) {
      run.tell(Stage::kVaeEncode, next, num_frames);
      const int64_t end = next == 0 ? 1 : next + step;
      std::vector<at::Tensor> frames;
      while (next < end) frames.push_back(frame(next++));
      made.add(frames);
    }
    latents = made.all();
    run.tell(Stage::kVaeEncode, num_frames, num_frames);
  });
  return latents;
}

void require_source_fits(const SourceFormat& format, const models::vae::VaeSpec& spec) {
  const int64_t step = spec.spatial_factor();
  T2V_REQUIRE(format.width % step == 0 && format.height % step == 0, ErrorKind::kInput,
              "the picture is ", format.width, "x", format.height,
              ", this model's VAE takes multiples of ", step, "; try a width of ",
              nearest(format.width, step), " and a height of ", nearest(format.height, step));
  if (format.num_frames > 0) require_length(format.num_frames, spec.temporal_factor());
}

at::Tensor encode_source(const Encoder& encoder, FrameSource& source, Run& run) {
  const SourceFormat format = source.format();
  require_source_fits(format, encoder.spec());
  const int64_t step = encoder.spec().temporal_factor();
  at::Tensor latents;
  run.in_stage(Stage::kVaeEncode, [&] {
    Latents made(encoder, run);
    std::vector<at::Tensor> frames;
    std::vector<uint8_t> rgb;
    int64_t count = 0;
    while (source.read(rgb)) {
      run.tell(Stage::kVaeEncode, count, 0);
      frames.push_back(frame_tensor(rgb, format.height, format.width));
      if (count++ == 0 || static_cast<int64_t>(frames.size()) == step)
        made.add(std::exchange(frames, {}));
    }
    T2V_REQUIRE(count > 0, ErrorKind::kInput, "there is no frame to encode; is the file whole?");
    require_length(count, step);
    latents = made.all();
    run.tell(Stage::kVaeEncode, count, count);
  });
  return latents;
}

}  // namespace t2v::pipeline
