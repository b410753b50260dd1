#include "pipeline/checkpoint.h"

#include <ATen/ops/cat.h>

#include <filesystem>
#include <map>
#include <span>

#include "core/check.h"
#include "weights/byte_hash.h"
#include "weights/checkpoint.h"
#include "weights/json_file.h"
#include "weights/safetensors_writer.h"

namespace t2v::pipeline {
namespace {

constexpr const char* kRecipeKey = "t2v.recipe";
constexpr const char* kStepsKey = "t2v.steps_done";
constexpr int64_t kMostSteps = 1'000'000'000;  // of all chunks of a causal video
constexpr const char* kHashKey = "t2v.hash";   // of the rest: safetensors has no checksum

struct Part {
  const char* name;
  at::Tensor sched::SolverHistory::*tensor;
};
constexpr Part kParts[] = {{"solver.last", &sched::SolverHistory::last},
                           {"solver.x0_1", &sched::SolverHistory::x0_1},
                           {"solver.x0_2", &sched::SolverHistory::x0_2},
                           {"solver.generator", &sched::SolverHistory::generator}};
constexpr const char* kCachePrefix = "step_cache.";

std::string hash_of(const std::map<std::string, at::Tensor>& tensors, const std::string& recipe,
                    const std::string& steps) {
  weights::ByteHash hash;
  const auto add = [&](const void* bytes, size_t size) {
    hash.add({static_cast<const std::byte*>(bytes), size});
  };
  for (const std::string& text : {recipe, steps}) add(text.c_str(), text.size() + 1);
  for (const auto& [name, tensor] : tensors) {
    const std::string title = core::str(name, ' ', tensor.scalar_type(), ' ', tensor.sizes());
    add(title.c_str(), title.size() + 1);
    const at::Tensor plain = tensor.contiguous();
    add(plain.const_data_ptr(), plain.nbytes());
  }
  return hash.finish();
}

std::optional<StepState> read_state(const std::string& path, const std::string& recipe_json) {
  const auto file = weights::Checkpoint::open(path, ErrorKind::kInput);
  const auto text = [&](const char* key) {
    const auto found = file.metadata().find(key);
    T2V_REQUIRE(found != file.metadata().end(), ErrorKind::kInput,
                "not a state that t2v has saved: '", key, "' is missing (", path, ")");
    return found->second;
  };
  if (text(kRecipeKey) != recipe_json) return std::nullopt;
  std::map<std::string, at::Tensor> tensors;
  for (const weights::TensorEntry& entry : file.tensors())
    tensors[entry.name] = file.load(entry.name);
  const std::string steps = text(kStepsKey);
  T2V_REQUIRE(hash_of(tensors, recipe_json, steps) == text(kHashKey) && tensors.count("latents"),
              ErrorKind::kInput, "the state is damaged: its bytes do not fit its checksum (", path,
              ")");
  StepState state;
  state.steps_done = weights::JsonFile::parse("{\"n\":" + steps + "}", path, ErrorKind::kInput)
                         .find_int("n", 0, kMostSteps)
                         .value_or(0);
  for (const auto& [name, tensor] : tensors) {
    if (name == "latents") state.latents = tensor;
    for (const Part& part : kParts)
      if (name == part.name) state.history.*part.tensor = tensor;
    if (name.starts_with(kCachePrefix))
      state.cache[name.substr(std::string(kCachePrefix).size())] = tensor;
  }
  return state;
}

}  // namespace

void write_checkpoint(const std::string& path, const StepState& state,
                      const std::string& recipe_json) {
  const at::Tensor latents = state.pieces.empty() ? state.latents : at::cat(state.pieces, 1);
  std::map<std::string, at::Tensor> tensors = {{"latents", latents.to(at::kCPU)}};
  for (const Part& part : kParts) {
    const at::Tensor& tensor = state.history.*part.tensor;
    if (tensor.defined()) tensors[part.name] = tensor.to(at::kCPU);
  }
  for (const auto& [name, tensor] : state.cache) tensors[kCachePrefix + name] = tensor.to(at::kCPU);
  const std::string steps = core::str(state.steps_done);
  std::vector<weights::NamedTensor> named;
  for (const auto& [name, tensor] : tensors) named.push_back({name, tensor});
  weights::write_safetensors(path, named,
                             {{kRecipeKey, recipe_json},
                              {kStepsKey, steps},
                              {kHashKey, hash_of(tensors, recipe_json, steps)}});
}

std::optional<StepState> read_checkpoint(const std::string& path, const std::string& recipe_json) {
  std::error_code ignored;
  if (path.empty() || !std::filesystem::exists(path, ignored)) return std::nullopt;
  try {
    return read_state(path, recipe_json);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
    throw Error(ErrorKind::kInput, core::str("cannot go on with a video: ", error.what(),
                                             "; try without --resume, or delete the file"));
  }
}

}  // namespace t2v::pipeline
