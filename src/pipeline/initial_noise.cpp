#include "pipeline/initial_noise.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randn.h>

#include "core/check.h"
#include "weights/checkpoint.h"
#include "weights/safetensors_writer.h"

namespace t2v::pipeline {
namespace {

constexpr const char* kRecipeKey = "t2v.recipe";

}  // namespace

SavedLatents read_latents(const std::string& path) {
  const auto file = weights::Checkpoint::open(path, ErrorKind::kInput);
  const char* name = file.contains("latents") ? "latents" : "latents_final";
  T2V_REQUIRE(file.contains(name), ErrorKind::kInput, "no tensor 'latents' in latents file (", path,
              "); is it one that --save-latents wrote?");
  at::Tensor latents = file.load(name);
  T2V_REQUIRE(at::isFloatingType(latents.scalar_type()), ErrorKind::kInput, "tensor '", name,
              "' is not of a float type (", path, ")");
  latents = latents.to(at::kFloat);
  if (latents.dim() == 5 && latents.size(0) == 1) latents = latents.squeeze(0);
  T2V_REQUIRE(latents.dim() == 4 && latents.numel() > 0, ErrorKind::kInput, "tensor '", name,
              "' is ", core::str(latents.sizes()), ", expected [channels, frames, height, width] (",
              path, ")");
  T2V_REQUIRE(at::isfinite(latents).all().item<bool>(), ErrorKind::kInput, "tensor '", name,
              "' holds NaN or infinite values (", path, ")");
  const auto found = file.metadata().find(kRecipeKey);
  return {latents, found == file.metadata().end() ? "" : found->second};
}

void write_latents(const std::string& path, const at::Tensor& latents,
                   const std::string& recipe_json) {
  weights::write_safetensors(path, {{"latents", latents.to(at::kCPU).unsqueeze(0)}},
                             {{kRecipeKey, recipe_json}});
}

at::Tensor make_initial_noise(const Recipe& recipe, const Geometry& g) {
  const std::vector<int64_t> shape = {g.latent_channels, g.latent_frames, g.latent_height,
                                      g.latent_width};
  if (!recipe.latents_path.empty()) {
    at::Tensor latents = read_latents(recipe.latents_path).latents;
    T2V_REQUIRE(latents.sizes() == shape, ErrorKind::kInput, "initial noise is ",
                core::str(latents.sizes()), ", expected ", core::str(at::IntArrayRef(shape)),
                " for ", recipe.width, "x", recipe.height, " and ", recipe.frames,
                " frames (--latents ", recipe.latents_path, ")");
    return latents;
  }
  auto generator = at::detail::createCPUGenerator(recipe.seed);
  return at::randn({1, shape[0], shape[1], shape[2], shape[3]}, generator, at::kFloat).squeeze(0);
}

}  // namespace t2v::pipeline
