#include "pipeline/latent_preview.h"

#include <ATen/ops/addmm.h>
#include <c10/core/InferenceMode.h>

#include "core/check.h"
#include "ops/frames.h"
#include "pipeline/initial_noise.h"
#include "pipeline/run.h"
#include "pipeline/sink_guard.h"
#include "t2v/engine.h"

namespace t2v::pipeline {
namespace {

constexpr double kDefaultFps = 16;      // of these models
constexpr double kFramesPerLatent = 4;  // but for the first latent frame, which stands for one

// Of latents that nothing but their number of channels is known of.
PreviewFactors factors_for(const at::Tensor& latents, const std::string& path) {
  auto factors = published_preview_factors(latents.size(0));
  T2V_REQUIRE(factors.has_value(), ErrorKind::kInput, "latents have ", latents.size(0),
              " channels, the linear preview is for those of Wan's VAEs (", path,
              "); try without --preview, with the model's VAE");
  return std::move(*factors);
}

void write_preview(const at::Tensor& latents, const VideoFormat& format, FrameSink& sink,
                   const std::string& path, Run& run) {
  SinkGuard guard(&sink);
  run.in_stage(Stage::kVaeDecode, [&] {
    sink.begin(format);
    for (int64_t t = 0; t < format.num_frames; ++t) {
      run.tell(Stage::kVaeDecode, t, format.num_frames);
      run.check_cancelled();
      const at::Tensor frame =
          preview_frames(latents.narrow(1, t, 1), kPreviewScale, factors_for(latents, path));
      sink.write(frame.const_data_ptr<uint8_t>(), 1);
    }
    run.tell(Stage::kVaeDecode, format.num_frames, format.num_frames);
  });
  run.in_stage(Stage::kVideoEncode, [&] { sink.finish(); });
  guard.release();
}

}  // namespace

at::Tensor preview_frames(const at::Tensor& latents, int64_t scale, const PreviewFactors& factors) {
  const int64_t channels = factors.num_channels();
  T2V_ASSERT(latents.size(0) == channels);
  const at::Tensor pixels = latents.to(at::kFloat).reshape({channels, -1});
  const at::Tensor colours = at::addmm(factors.offsets(), factors.matrix(), pixels);
  const at::Tensor small =
      ops::frames_to_rgb8(colours.reshape({3, latents.size(1), latents.size(2), latents.size(3)}));
  return small.repeat_interleave(scale, 1).repeat_interleave(scale, 2).contiguous();
}

}  // namespace t2v::pipeline

namespace t2v {

Report preview_latents(const std::string& latents_path, double fps, FrameSink& sink,
                       ProgressListener& progress, const CancelToken& cancel) {
  using namespace pipeline;
  const c10::InferenceMode no_gradients;
  Run run({}, progress, cancel, false);
  const SavedLatents saved = read_latents(latents_path);
  static_cast<void>(factors_for(saved.latents, latents_path));  // refuses before a file is made
  Recipe recipe;
  recipe.width = saved.latents.size(3) * kPreviewScale;
  recipe.height = saved.latents.size(2) * kPreviewScale;
  recipe.frames = saved.latents.size(1);
  recipe.fps = fps > 0 ? fps : saved.fps.value_or(kDefaultFps) / kFramesPerLatent;
  write_preview(saved.latents,
                {.width = recipe.width,
                 .height = recipe.height,
                 .num_frames = recipe.frames,
                 .fps = recipe.fps,
                 .recipe_json = {}},
                sink, latents_path, run);
  Report& report = run.report();
  report.recipe = recipe;
  report.device = "CPU";
  report.model = "linear preview";
  report.total_ms = run.elapsed_ms();
  return report;
}

}  // namespace t2v
