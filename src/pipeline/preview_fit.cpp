#include "pipeline/preview_fit.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "pipeline/encode_stage.h"

namespace t2v::pipeline {
namespace {

constexpr uint64_t kSeed = 7;
// 768 latent pixels a clip, against 17 or 49 unknowns a colour. The first latent frame of a video
// is made of one frame, later ones of several: both are wanted, as are motion and standing still.
constexpr int64_t kClips = 6;
constexpr int64_t kLatentFrames = 3;
constexpr int64_t kLatentSide = 16;
// Beside latents of unit variance: of channels that say the same, none gets a large factor.
constexpr double kRidge = 0.03;

// fp32 [3, side, side] in [-1, 1]: octaves of noise, weaker the finer they are, as in photographs;
// partly common to the colours, since light and dark are.
at::Tensor colour_field(int64_t side, at::Generator& generator) {
  constexpr double kWeaker = 0.7;
  at::Tensor field = at::zeros({4, side, side}, at::kFloat);
  double strength = 1;
  for (int64_t cells = 2; cells < side; cells *= 2, strength *= kWeaker) {
    const at::Tensor noise = at::randn({1, 4, cells, cells}, generator, at::kFloat);
    field += at::upsample_bilinear2d(noise, {side, side}, /*align_corners=*/false)[0] * strength;
  }
  field = (field - field.mean({1, 2}, /*keepdim=*/true)) / field.std();
  const at::Tensor colours = field.narrow(0, 0, 3) * 0.8 + field.narrow(0, 3, 1) * 0.6;
  const at::Tensor level = at::rand({3, 1, 1}, generator, at::kFloat) - 0.5;
  return (colours * 0.7 + level).clamp(-1, 1);
}

// A camera that moves over a field: 0, 1, 2 ... pixels a frame, by clip.
at::Tensor frame_of(const at::Tensor& field, int64_t side, int64_t clip, int64_t index) {
  const int64_t shift = std::min(clip * index, field.size(1) - side);
  return field.narrow(1, shift, side).narrow(2, clip % 2 == 0 ? shift : 0, side).unsqueeze(1);
}

// fp32 [3, T, h, w]: means over the pixels and frames that a latent pixel stands for. video: fp32
// [3, frames, H, W].
at::Tensor mean_colours(const at::Tensor& video, int64_t factor, int64_t temporal_factor) {
  const at::Tensor small =
      video.reshape({3, -1, kLatentSide, factor, kLatentSide, factor}).mean({3, 5});
  std::vector<at::Tensor> parts = {small.narrow(1, 0, 1)};
  for (int64_t t = 1; t < small.size(1); t += temporal_factor)
    parts.push_back(small.narrow(1, t, temporal_factor).mean(1, /*keepdim=*/true));
  return at::cat(parts, 1);
}

}  // namespace

PreviewFactors fit_preview_factors(const models::vae::Encoder& encoder, Run& run) {
  const int64_t z = encoder.spec().z_dim;
  const int64_t factor = encoder.spec().spatial_factor();
  const int64_t side = kLatentSide * factor;
  const int64_t num_frames = encoder.spec().num_frames(kLatentFrames);
  constexpr int64_t kPixels = kLatentFrames * kLatentSide * kLatentSide;
  at::Generator generator = at::detail::createCPUGenerator(kSeed);
  // Normal equations; the last row is that of the offsets.
  at::Tensor gram = at::zeros({z + 1, z + 1}, at::kDouble);
  at::Tensor product = at::zeros({z + 1, 3}, at::kDouble);
  for (int64_t clip = 0; clip < kClips; ++clip) {
    const at::Tensor field = colour_field(side + side / 4, generator);
    std::vector<at::Tensor> frames;
    for (int64_t i = 0; i < num_frames; ++i) frames.push_back(frame_of(field, side, clip, i));
    const at::Tensor latents = encode_frames(
        encoder, num_frames, [&](int64_t i) { return frames[static_cast<size_t>(i)]; }, run);
    const at::Tensor colours =
        mean_colours(at::cat(frames, 1), factor, encoder.spec().temporal_factor());
    const at::Tensor rows =
        at::cat({latents.reshape({z, kPixels}), at::ones({1, kPixels}, at::kFloat)})
            .to(at::kDouble);
    gram += rows.mm(rows.t());
    product += rows.mm(colours.reshape({3, kPixels}).t().to(at::kDouble));
  }
  gram.diagonal().narrow(0, 0, z) += kRidge * static_cast<double>(kClips * kPixels);
  const at::Tensor solution = at::linalg_solve(gram, product).to(at::kFloat);
  const auto values = solution.accessor<float, 2>();
  std::vector<PreviewFactors::Colour> rows;
  for (int64_t i = 0; i <= z; ++i) rows.push_back({values[i][0], values[i][1], values[i][2]});
  const PreviewFactors::Colour offsets = rows.back();
  rows.pop_back();
  return PreviewFactors(std::move(rows), offsets);
}

}  // namespace t2v::pipeline
