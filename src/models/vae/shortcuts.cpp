#include "models/vae/shortcuts.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "core/check.h"

namespace t2v::models::vae {

at::Tensor average_down(const at::Tensor& x, const SizeFactors& factors, int64_t out_channels) {
  const int64_t missing = (factors.time - x.size(0) % factors.time) % factors.time;
  at::Tensor all = x;
  if (missing > 0)
    all = at::cat({at::zeros({missing, x.size(1), x.size(2), x.size(3)}, x.options()), x});
  const int64_t t = all.size(0) / factors.time, h = all.size(1) / factors.space,
                w = all.size(2) / factors.space;
  const int64_t values = all.size(3) * factors.time * factors.space * factors.space;
  T2V_ASSERT(values % out_channels == 0);
  return all.view({t, factors.time, h, factors.space, w, factors.space, all.size(3)})
      .permute({0, 2, 4, 6, 1, 3, 5})
      .reshape({t, h, w, out_channels, values / out_channels})
      .mean(at::IntArrayRef({4}), false, at::kFloat)
      .to(x.scalar_type());
}

DuplicateUp::DuplicateUp(int64_t in_channels, int64_t out_channels, const SizeFactors& factors,
                         at::Device device)
    : factors_(factors) {
  const int64_t factor = factors.time * factors.space * factors.space;
  T2V_ASSERT(out_channels * factor % in_channels == 0);
  const int64_t repeats = out_channels * factor / in_channels;
  for (int64_t place = 0; place < factor; ++place) {
    std::vector<int64_t> source;
    for (int64_t channel = 0; channel < out_channels; ++channel)
      source.push_back((channel * factor + place) / repeats);
    sources_.push_back(at::tensor(source, at::kLong).to(device));
  }
}

void DuplicateUp::add_to(const at::Tensor& out, const at::Tensor& x, bool first_chunk) const {
  T2V_ASSERT(!first_chunk || x.size(0) == 1);
  const int64_t space = factors_.space;
  for (size_t place = 0; place < sources_.size(); ++place) {
    const auto number = static_cast<int64_t>(place);
    const int64_t frame = number / (space * space);
    if (first_chunk && frame + 1 < factors_.time) continue;
    const at::Tensor frames = first_chunk ? out : out.slice(0, frame, std::nullopt, factors_.time);
    const at::Tensor pixels = frames.slice(1, number / space % space, std::nullopt, space)
                                  .slice(2, number % space, std::nullopt, space);
    pixels.add_(x.index_select(3, sources_[place]));
  }
}

at::Tensor pack_pixels(const at::Tensor& frames, int64_t patch) {
  if (patch == 1) return frames;
  const int64_t t = frames.size(0), h = frames.size(1) / patch, w = frames.size(2) / patch;
  return frames.reshape({t, h, patch, w, patch, frames.size(3)})
      .permute({0, 1, 3, 5, 4, 2})
      .reshape({t, h, w, frames.size(3) * patch * patch});
}

at::Tensor unpack_pixels(const at::Tensor& packed, int64_t patch) {
  if (patch == 1) return packed;
  const int64_t t = packed.size(0), h = packed.size(1), w = packed.size(2);
  return packed.reshape({t, h, w, packed.size(3) / (patch * patch), patch, patch})
      .permute({0, 1, 5, 2, 4, 3})
      .reshape({t, h * patch, w * patch, -1});
}

}  // namespace t2v::models::vae
