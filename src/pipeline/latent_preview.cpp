#include "pipeline/latent_preview.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include "core/check.h"
#include "ops/frames.h"
#include "pipeline/initial_noise.h"
#include "pipeline/run.h"
#include "pipeline/sink_guard.h"
#include "t2v/engine.h"

namespace t2v::pipeline {
namespace {

constexpr int64_t kChannels = 16;       // of the VAE of Wan 2.1 and of both 14B experts
constexpr double kDefaultFps = 16;      // of these models
constexpr double kFramesPerLatent = 4;  // but for the first latent frame, which stands for one

// Least squares over the pixels of four latent frames (0, 5, 10, 15 of 40x64, [16, 16, 40, 64]) of
// real video latents against a linear preview of the same latents, pixels at 0 and 255 left out
// (5,600 to 6,600 of 10,240 a channel remain). Residual: 0.29 of 255 rms, which is that of rounding
// to whole numbers; the rounded factors here give 99.1 % of all samples exactly, the rest within 1.
constexpr float kFactors[kChannels][3] = {
    {0.0151F, -0.1485F, 0.4800F},   {0.0035F, -0.0107F, -0.0374F},  {0.2123F, 0.0633F, 0.0169F},
    {0.2327F, 0.4066F, 0.2201F},    {-0.0520F, -0.0823F, -0.0695F}, {0.0852F, -0.1615F, 0.0107F},
    {-0.2453F, -0.5063F, -0.1171F}, {-0.1511F, 0.0177F, 0.0073F},   {-0.2933F, -0.2081F, -0.4212F},
    {-0.1878F, 0.0511F, 0.1777F},   {-0.0133F, 0.2662F, 0.1663F},   {0.0284F, 0.1092F, 0.1088F},
    {-0.2053F, 0.0440F, 0.1489F},   {0.0142F, -0.0488F, -0.0071F},  {0.2171F, 0.0534F, 0.3198F},
    {0.1557F, 0.0827F, 0.0648F}};
constexpr float kOffsets[3] = {-0.2744F, -0.2387F, -0.4607F};  // colours are -1 to 1

at::Tensor constant(const float* values, at::IntArrayRef shape) {
  return at::from_blob(const_cast<float*>(values), shape, at::kFloat);  // only read
}

void write_preview(const at::Tensor& latents, const VideoFormat& format, FrameSink& sink,
                   const std::string& path, Run& run) {
  SinkGuard guard(&sink);
  run.in_stage(Stage::kVaeDecode, [&] {
    sink.begin(format);
    for (int64_t t = 0; t < format.num_frames; ++t) {
      run.tell(Stage::kVaeDecode, t, format.num_frames);
      run.check_cancelled();
      const at::Tensor frame = preview_frames(latents.narrow(1, t, 1), kPreviewScale, path);
      sink.write(frame.const_data_ptr<uint8_t>(), 1);
    }
    run.tell(Stage::kVaeDecode, format.num_frames, format.num_frames);
  });
  run.in_stage(Stage::kVideoEncode, [&] { sink.finish(); });
  guard.release();
}

}  // namespace

at::Tensor preview_frames(const at::Tensor& latents, int64_t scale, const std::string& what) {
  T2V_REQUIRE(latents.size(0) == kChannels, ErrorKind::kInput, "latents have ", latents.size(0),
              " channels, the linear preview is for ", kChannels, " (", what,
              "); try without --preview, with the model's VAE");
  const at::Tensor pixels = latents.to(at::kFloat).reshape({kChannels, -1});
  const at::Tensor colours =
      at::addmm(constant(kOffsets, {3, 1}), constant(&kFactors[0][0], {kChannels, 3}).t(), pixels);
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
  preview_frames(saved.latents.narrow(1, 0, 1), 1, latents_path);  // refuses before a file is made
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
