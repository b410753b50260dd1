// A half of the VAE comes in, as a stage of the run.
#pragma once

#include <optional>
#include <utility>

#include "pipeline/model.h"
#include "pipeline/run.h"

namespace t2v::pipeline {

// Half: models::vae::Decoder or Encoder. type_of(spec, run's type, device type): what it computes
// in. Throws Error{kModel}.
template <typename Half, typename TypeOf>
Half load_vae_half(const Model& model, Run& run, const TypeOf& type_of) {
  const auto map = open_weights(model, "vae");
  std::optional<Half> half;
  run.in_stage(Stage::kLoadVae, [&] {
    run.tell(Stage::kLoadVae, 0, 1);
    const at::Device device = run.compute().device;
    half.emplace(model.vae, map, type_of(model.vae, run.compute().dtype, device.type()), device);
    run.tell(Stage::kLoadVae, 1, 1);
  });
  run.add_bytes_read(Stage::kLoadVae, map.bytes_read());
  return std::move(*half);
}

}  // namespace t2v::pipeline
