#include "pipeline/checkpoint.h"

#include <filesystem>

#include "core/check.h"
#include "weights/checkpoint.h"
#include "weights/json_file.h"
#include "weights/safetensors_writer.h"

namespace t2v::pipeline {
namespace {

constexpr const char* kRecipeKey = "t2v.recipe";
constexpr const char* kStepsKey = "t2v.steps_done";

struct Part {
  const char* name;
  at::Tensor sched::SolverHistory::*tensor;
};
constexpr Part kParts[] = {{"solver.last", &sched::SolverHistory::last},
                           {"solver.x0_1", &sched::SolverHistory::x0_1},
                           {"solver.x0_2", &sched::SolverHistory::x0_2},
                           {"solver.generator", &sched::SolverHistory::generator}};
constexpr const char* kCachePrefix = "step_cache.";

}  // namespace

void write_checkpoint(const std::string& path, const StepState& state,
                      const std::string& recipe_json) {
  std::vector<weights::NamedTensor> tensors = {{"latents", state.latents.to(at::kCPU)}};
  for (const Part& part : kParts) {
    const at::Tensor& tensor = state.history.*part.tensor;
    if (tensor.defined()) tensors.push_back({part.name, tensor.to(at::kCPU)});
  }
  for (const auto& [name, tensor] : state.cache)
    tensors.push_back({kCachePrefix + name, tensor.to(at::kCPU)});
  weights::write_safetensors(path, tensors,
                             {{kRecipeKey, recipe_json}, {kStepsKey, core::str(state.steps_done)}});
}

std::optional<StepState> read_checkpoint(const std::string& path, const std::string& recipe_json) {
  std::error_code ignored;
  if (path.empty() || !std::filesystem::exists(path, ignored)) return std::nullopt;
  const auto file = weights::Checkpoint::open(path, ErrorKind::kInput);
  const auto& metadata = file.metadata();
  const auto recipe = metadata.find(kRecipeKey);
  const auto steps = metadata.find(kStepsKey);
  T2V_REQUIRE(recipe != metadata.end() && steps != metadata.end() && file.contains("latents"),
              ErrorKind::kInput, "not a state that t2v has saved (", path,
              ", --resume); try without it, or delete the file");
  if (recipe->second != recipe_json) return std::nullopt;
  StepState state;
  state.steps_done =
      weights::JsonFile::parse("{\"n\":" + steps->second + "}", path, ErrorKind::kInput)
          .find_int("n", 0, 1000)
          .value_or(0);
  state.latents = file.load("latents");
  for (const Part& part : kParts)
    if (file.contains(part.name)) state.history.*part.tensor = file.load(part.name);
  for (const weights::TensorEntry& entry : file.tensors())
    if (entry.name.starts_with(kCachePrefix))
      state.cache[entry.name.substr(std::string(kCachePrefix).size())] = file.load(entry.name);
  return state;
}

}  // namespace t2v::pipeline
