// The committed VAE fixtures, and decoding with them.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <string>
#include <vector>

#include "models/vae/decoder.h"
#include "weights/checkpoint.h"

namespace t2v::testing {

// "narrow" (four levels, base width 4), "odd" (three levels, base width 5), "whole" (with its
// encoder, nothing decoded), "residual" (VAE 2.2, with its encoder).
struct VaeFixture {
  explicit VaeFixture(const std::string& name)
      : folder(std::string(T2V_FIXTURES) + "/vae/" + name),
        spec(models::vae::read_vae_spec(folder + "/config.json")),
        map(weights::WeightMap::open(folder + "/diffusion_pytorch_model.safetensors",
                                     weights::ModelPart::kVae, "vae")),
        recorded(weights::Checkpoint::open(folder + "/reference.safetensors")) {}

  [[nodiscard]] models::vae::Decoder decoder(at::ScalarType dtype) const {
    return {spec, map, dtype, at::kCPU};
  }
  [[nodiscard]] models::vae::Decoder decoder(at::ScalarType dtype,
                                             models::vae::NetworkForm form) const {
    return {spec, map, dtype, at::kCPU, form};
  }
  [[nodiscard]] at::Tensor latents() const { return recorded.load("vae_input"); }
  [[nodiscard]] at::Tensor video() const { return recorded.load("video"); }
  [[nodiscard]] double bf16_distance() const {
    return std::stod(recorded.metadata().at("bf16_distance"));
  }

  std::string folder;
  models::vae::VaeSpec spec;
  weights::WeightMap map;
  weights::Checkpoint recorded;
};

// In calls of `step` latent frames; on the CPU.
inline at::Tensor decode_in_steps(const models::vae::Decoder& decoder, const at::Tensor& latents,
                                  int64_t step) {
  auto stream = decoder.start(latents.size(2), latents.size(3));
  std::vector<at::Tensor> chunks;
  for (int64_t i = 0; i < latents.size(1); i += step)
    chunks.push_back(
        stream.next(latents.narrow(1, i, std::min(step, latents.size(1) - i))).to(at::kCPU));
  return at::cat(chunks, 1);
}

}  // namespace t2v::testing
