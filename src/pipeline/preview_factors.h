// The linear map from a VAE's latent channels to colours.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "pipeline/model.h"

namespace t2v::pipeline {

class PreviewFactors {
 public:
  using Colour = std::array<float, 3>;  // of -1 to 1
  PreviewFactors(std::vector<Colour> by_channel, const Colour& offsets);

  [[nodiscard]] int64_t num_channels() const { return matrix_.size(1); }
  [[nodiscard]] const at::Tensor& matrix() const noexcept { return matrix_; }    // fp32 [3, z]
  [[nodiscard]] const at::Tensor& offsets() const noexcept { return offsets_; }  // fp32 [3, 1]

 private:
  at::Tensor matrix_, offsets_;
};

// Of Wan's own VAEs, by their number of latent channels; nothing for others.
std::optional<PreviewFactors> published_preview_factors(int64_t num_channels);

// Those in `preview_factors` of the model's t2v.json (a row [r, g, b] for each channel and one of
// offsets behind them), else the published ones; nothing where neither fits. Throws Error{kModel}
// for a list of another form.
std::optional<PreviewFactors> preview_factors_of(const Model& model);

}  // namespace t2v::pipeline
