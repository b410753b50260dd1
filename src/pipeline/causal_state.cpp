#include "pipeline/causal_state.h"

#include <ATen/CPUGeneratorImpl.h>

#include "core/check.h"

namespace t2v::pipeline {

void require_causal_state(const StepState& state, const CausalProfile& profile,
                          const Geometry& geometry, const std::string& path) {
  const at::Tensor& latents = state.latents;
  const at::Tensor& generator = state.history.generator;
  const auto is_video = [&] {
    return latents.defined() && latents.scalar_type() == at::kFloat && latents.dim() == 4 &&
           latents.size(0) == geometry.latent_channels &&
           latents.size(2) == geometry.latent_height && latents.size(3) == geometry.latent_width;
  };
  const auto is_position = [&] {
    const int64_t frames = latents.size(1);
    const auto steps = static_cast<int64_t>(profile.timesteps.size());
    return frames <= geometry.latent_frames && profile.whole_chunks(frames) == frames &&
           state.steps_done == profile.num_chunks(frames) * steps;
  };
  const auto is_noise = [&] {
    return generator.defined() && generator.scalar_type() == at::kByte &&
           generator.sizes() == at::detail::createCPUGenerator().get_state().sizes();
  };
  T2V_REQUIRE(is_video() && is_position() && is_noise(), ErrorKind::kInput,
              "cannot go on with a video: what the state holds does not fit a causal video of this "
              "size and profile (",
              path, "); try without --resume, or delete the file");
}

}  // namespace t2v::pipeline
