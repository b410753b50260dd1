#include "pipeline/initial_noise.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <iterator>

#include "core/check.h"
#include "weights/checkpoint.h"
#include "weights/json_file.h"
#include "weights/safetensors_writer.h"

namespace t2v::pipeline {
namespace {

constexpr const char* kRecipeKey = "t2v.recipe";
constexpr const char* kNames[] = {"latents", "latents_final", "samples"};

std::optional<double> fps_of(const std::string& recipe_json) {
  try {
    const auto json = weights::JsonFile::parse(recipe_json, "saved recipe", ErrorKind::kInput);
    return json.find_double("fps", 0.01, 1000);
  } catch (const Error&) {  // a recipe is a convenience: frames can be had without it
    return std::nullopt;
  }
}

}  // namespace

SavedLatents read_latents(const std::string& path) {
  const auto file = weights::Checkpoint::open(path, ErrorKind::kInput);
  const auto wanted = std::find_if(std::begin(kNames), std::end(kNames),
                                   [&](const char* known) { return file.contains(known); });
  T2V_REQUIRE(wanted != std::end(kNames), ErrorKind::kInput,
              "no tensor 'latents', 'latents_final' or 'samples' in latents file (", path,
              "); is it one that --save-latents wrote?");
  const std::string name = *wanted;
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
  SavedLatents saved{.latents = latents, .recipe_json = {}, .fps = {}};
  if (const auto found = file.metadata().find(kRecipeKey); found != file.metadata().end()) {
    saved.recipe_json = found->second;
    saved.fps = fps_of(saved.recipe_json);
  }
  return saved;
}

void write_latents(const std::string& path, const at::Tensor& latents,
                   const std::string& recipe_json) {
  weights::write_safetensors(path, {{"latents", latents.to(at::kCPU).unsqueeze(0)}},
                             {{kRecipeKey, recipe_json}});
}

namespace {

// Before the first noise level counts.
at::Tensor unit_noise(const Recipe& recipe, const Geometry& g) {
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

}  // namespace

at::Tensor make_initial_noise(const Recipe& recipe, const Geometry& g) {
  const at::Tensor noise = unit_noise(recipe, g);
  return recipe.t_list.empty() ? noise : noise * (recipe.t_list[0] / 1000);
}

}  // namespace t2v::pipeline
