#include "models/wan/embeddings.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>

#include <cmath>

#include "core/check.h"
#include "models/wan/weights.h"

namespace t2v::models::wan {

at::Tensor patchify(const at::Tensor& latents, const TransformerSpec& spec) {
  const int64_t ph = spec.patch_height;
  const int64_t pw = spec.patch_width;
  const int64_t c = latents.size(0);
  const int64_t t = latents.size(1);
  const int64_t h = latents.size(2) / ph;
  const int64_t w = latents.size(3) / pw;
  return latents.view({c, t, h, ph, w, pw})
      .permute({1, 2, 4, 0, 3, 5})
      .reshape({t * h * w, c * ph * pw});
}

at::Tensor unpatchify(const at::Tensor& tokens, const TransformerSpec& spec, int64_t frames,
                      int64_t height, int64_t width) {
  const int64_t ph = spec.patch_height;
  const int64_t pw = spec.patch_width;
  const int64_t c = spec.out_channels;
  return tokens.view({frames, height / ph, width / pw, ph, pw, c})
      .permute({5, 0, 1, 3, 2, 4})
      .reshape({c, frames, height, width});
}

at::Tensor timestep_sinusoid(double timestep, int64_t size) {
  at::Tensor out = at::empty({size}, at::kFloat);
  auto* values = out.mutable_data_ptr<float>();
  const int64_t half = size / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double angle =
        timestep * std::pow(10000.0, -static_cast<double>(j) / static_cast<double>(half));
    values[j] = static_cast<float>(std::cos(angle));
    values[half + j] = static_cast<float>(std::sin(angle));
  }
  return out;
}

void Embeddings::expect(const TransformerSpec& spec, weights::Expectations& expected) {
  const int64_t c = spec.size();
  expected.tensors.push_back(
      {"patch_embedding.weight", {c, spec.in_channels, 1, spec.patch_height, spec.patch_width}});
  expected.tensors.push_back({"patch_embedding.bias", {c}});
  expect_linear("text_embedding.0", c, spec.text_size, expected);
  expect_linear("text_embedding.2", c, c, expected);
  expect_linear("time_embedding.0", c, spec.freq_size, expected);
  expect_linear("time_embedding.2", c, c, expected);
  expect_linear("time_projection.1", 6 * c, c, expected);
}

Embeddings::Embeddings(const TransformerSpec& spec, const weights::WeightSource& source,
                       at::ScalarType dtype, at::Device device)
    : spec_(spec), dtype_(dtype), device_(device) {
  const Placement wide{source, at::kFloat, device};
  patch_ = {wide.fp32("patch_embedding.weight").view({spec.size(), -1}),
            wide.fp32("patch_embedding.bias")};
}

void Embeddings::load_prologue(const weights::WeightSource& source) {
  const Placement wide{source, at::kFloat, device_};
  const Placement compute{source, dtype_, device_};
  time_ = {load_linear(wide, "time_embedding.0"), load_linear(wide, "time_embedding.2")};
  time_projection_ = load_linear(wide, "time_projection.1");
  text_ = {load_linear(compute, "text_embedding.0"), load_linear(compute, "text_embedding.2")};
}

void Embeddings::drop_prologue() noexcept {
  time_ = {};
  time_projection_ = {};
  text_ = {};
}

at::Tensor Embeddings::patches(const at::Tensor& latents) const {
  return patch_(patchify(latents, spec_));
}

TimeModulation Embeddings::time(double timestep) const {
  const at::Tensor wave = timestep_sinusoid(timestep, spec_.freq_size).to(device_);
  const at::Tensor embedded = time_.second(at::silu(time_.first(wave.unsqueeze(0))));
  const at::Tensor projected = time_projection_(at::silu(embedded));
  return {embedded.squeeze(0), projected.view({6, spec_.size()})};
}

at::Tensor Embeddings::text(const at::Tensor& rows) const {
  return text_.second(text_.first(rows.to(device_, dtype_), ops::Activation::kGeluTanh));
}

}  // namespace t2v::models::wan
