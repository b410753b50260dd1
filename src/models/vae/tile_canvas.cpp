#include "models/vae/tile_canvas.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "core/check.h"
#include "models/vae/decoder.h"

namespace t2v::models::vae {
namespace {

constexpr double kStep = 256;          // parts of an rgb8 step
constexpr double kFull = 255 * kStep;  // white; sums of rounded parts stay within 16 bits
constexpr int kMiddle = 1 << 15;       // between unsigned sums and the signed type of tensors

const uint16_t* sums_of(const at::Tensor& sums, int64_t frame) {
  return static_cast<const uint16_t*>(sums.const_data_ptr()) + frame * sums.stride(0);
}

}  // namespace

TileCanvas::TileCanvas(int64_t num_frames, int64_t height, int64_t width)
    : sums_(at::zeros({num_frames, height, width, 3}, at::kShort)) {}

void TileCanvas::add(const at::Tensor& frames, const Place& place) {
  T2V_ASSERT(frames.dim() == 4 && frames.size(0) == 3 && frames.scalar_type() == at::kFloat);
  T2V_ASSERT(place.frame + frames.size(1) <= sums_.size(0) &&
             place.y + frames.size(2) <= sums_.size(1) &&
             place.x + frames.size(3) <= sums_.size(2));
  const auto weights = [&](const std::vector<float>& of) {
    return at::tensor(of, at::kFloat).to(frames.device());
  };
  const at::Tensor rows = weights(place.row_weights).view({-1, 1, 1});
  const at::Tensor columns = weights(place.column_weights).view({-1, 1});
  const at::Tensor parts = frames.permute({1, 2, 3, 0})
                               .div(2)
                               .add_(0.5)
                               .clamp_(0, 1)
                               .mul_(rows)
                               .mul_(columns)
                               .mul_(kFull)
                               .round_()
                               .sub_(kMiddle)
                               .to(at::kShort)
                               .to(at::kCPU)
                               .contiguous();
  const auto* from = parts.const_data_ptr<int16_t>();
  auto* base = static_cast<uint16_t*>(sums_.data_ptr());
  const int64_t row_size = parts.size(2) * 3;
  for (int64_t i = 0; i < parts.size(0); ++i) {
    for (int64_t y = 0; y < parts.size(1); ++y) {
      uint16_t* to = base + (place.frame + i) * sums_.stride(0) + (place.y + y) * sums_.stride(1) +
                     place.x * 3;
      for (int64_t k = 0; k < row_size; ++k)
        to[k] = static_cast<uint16_t>(to[k] + from[k] + kMiddle);
      from += row_size;
    }
  }
}

at::Tensor TileCanvas::rgb8(int64_t first, int64_t count) const {
  at::Tensor rgb = at::empty({count, sums_.size(1), sums_.size(2), 3}, at::kByte);
  const uint16_t* from = sums_of(sums_, first);
  auto* to = rgb.data_ptr<uint8_t>();
  for (int64_t i = 0; i < rgb.numel(); ++i) to[i] = static_cast<uint8_t>((from[i] + 128) >> 8);
  return rgb;
}

at::Tensor TileCanvas::frames(int64_t first, int64_t count) const {
  at::Tensor all = at::empty({count, sums_.size(1), sums_.size(2), 3}, at::kFloat);
  const uint16_t* from = sums_of(sums_, first);
  auto* to = all.data_ptr<float>();
  for (int64_t i = 0; i < all.numel(); ++i)
    to[i] = static_cast<float>(static_cast<double>(from[i]) / kFull * 2 - 1);
  return all.permute({3, 0, 1, 2});
}

namespace {

// Features of all latent frames, [T, h, w, C] in host memory.
at::Tensor enter_all(const Decoder& decoder, const at::Tensor& latents) {
  Stream stream = decoder.start(latents.size(2), latents.size(3), NetworkPart::kEntry);
  at::Tensor all;
  for (int64_t t = 0; t < latents.size(1); ++t) {
    const at::Tensor features = stream.enter(latents.narrow(1, t, 1));
    if (!all.defined())
      all = at::empty({latents.size(1), latents.size(2), latents.size(3), features.size(3)},
                      features.options().device(at::kCPU));
    all.narrow(0, t, 1).copy_(features);
  }
  return all;
}

}  // namespace

TileCanvas decode_tiles(const Decoder& decoder, const at::Tensor& latents, const Tiling& tiling,
                        const TileWatcher& watch) {
  const VaeSpec& spec = decoder.spec();
  const int64_t scale = spec.spatial_factor(), length = latents.size(1);
  const at::Tensor features = enter_all(decoder, latents);
  TileCanvas canvas(spec.num_frames(length), latents.size(2) * scale, latents.size(3) * scale);
  const auto rows = tile_spans(latents.size(2), tiling.rows);
  const auto columns = tile_spans(latents.size(3), tiling.columns);
  const auto row_weights = tile_weights(rows, scale), column_weights = tile_weights(columns, scale);
  const int64_t total = tiling.rows * tiling.columns * length;
  int64_t chunks_done = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < columns.size(); ++c) {
      const at::Tensor tile = features.narrow(1, rows[r].begin, rows[r].extent)
                                  .narrow(2, columns[c].begin, columns[c].extent);
      Stream stream = decoder.start(rows[r].extent, columns[c].extent, NetworkPart::kRest);
      for (int64_t t = 0; t < length; ++t) {
        // A copy of its own, as it will be overwritten.
        const at::Tensor own = tile.narrow(0, t, 1).clone(at::MemoryFormat::Contiguous);
        const at::Tensor frames = stream.leave(own.to(decoder.device()));
        watch(frames, t, ++chunks_done, total);
        canvas.add(frames, {.frame = spec.num_frames(t),
                            .y = rows[r].begin * scale,
                            .x = columns[c].begin * scale,
                            .row_weights = row_weights[r],
                            .column_weights = column_weights[c]});
      }
    }
  }
  return canvas;
}

}  // namespace t2v::models::vae
