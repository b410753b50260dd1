// What turns latents, timesteps and text into the transformer's inputs.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/spec.h"
#include "ops/linear.h"
#include "weights/weight_map.h"

namespace t2v::models::wan {

// latents [C, T, h, w] -> tokens [T*(h/ph)*(w/pw), C*ph*pw]; token order t, h, w; channel order of
// a conv3d weight (channel, then pixel).
at::Tensor patchify(const at::Tensor& latents, const TransformerSpec& spec);

// tokens [L, ph*pw*C] (pixel, then channel: the head's order) -> [C, T, h, w].
at::Tensor unpatchify(const at::Tensor& tokens, const TransformerSpec& spec, int64_t frames,
                      int64_t height, int64_t width);

// cos and sin of timestep * 10000^(-j/(size/2)), cos first: fp32 [size]. Angles in fp64, the values
// rounded once.
at::Tensor timestep_sinusoid(double timestep, int64_t size);

// Two linear layers with an activation between, weights as stored in `dtype`.
struct Mlp {
  ops::Linear first;
  ops::Linear second;
};

// Modulation of one timestep, fp32: what every block and the head add their own table to.
struct TimeModulation {
  at::Tensor head;    // [C]
  at::Tensor blocks;  // [6, C]
};

// Patch, time and text embedding. Time embedding and patch embedding run in fp32.
class Embeddings {
 public:
  Embeddings(const TransformerSpec& spec, const weights::WeightSource& source, at::ScalarType dtype,
             at::Device device);
  static void expect(const TransformerSpec& spec, weights::Expectations& expected);

  // Time and text embedding are needed before the first step only: reads them, gives them up.
  void load_prologue(const weights::WeightSource& source);
  void drop_prologue() noexcept;
  [[nodiscard]] bool has_prologue() const { return time_projection_.defined(); }

  // latents fp32 [C, T, h, w] -> fp32 [L, size].
  [[nodiscard]] at::Tensor patches(const at::Tensor& latents) const;
  [[nodiscard]] TimeModulation time(double timestep) const;
  // rows [n, text_size] of any device -> [n, size] in the compute type.
  [[nodiscard]] at::Tensor text(const at::Tensor& rows) const;

 private:
  TransformerSpec spec_;
  at::ScalarType dtype_;
  at::Device device_;
  ops::Linear patch_;
  Mlp time_;
  ops::Linear time_projection_;
  Mlp text_;
};

}  // namespace t2v::models::wan
