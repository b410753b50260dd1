// LoRA files through the whole engine: the same latents as a model whose files were merged here.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>

#include "memory_sink.h"
#include "support/compare.h"
#include "t2v/engine.h"
#include "weights/checkpoint.h"
#include "weights/safetensors_writer.h"
#include "weights/scratch.h"

using namespace t2v;
using t2v::test::Scratch;
using weights::NamedTensor;
namespace fs = std::filesystem;

namespace {

const std::string kModel = T2V_MODELS "/shapes";
const std::string kWeights = "diffusion_pytorch_model.safetensors";

// What a LoRA file adds to one tensor of the model's files, in double precision.
using Deltas = std::map<std::string, at::Tensor>;

struct Lora {
  std::vector<NamedTensor> tensors;
  Deltas deltas;
};

// Factors and full deltas for a few layers; canonical: names of Wan's own files, else of diffusers.
Lora make_lora(bool canonical, double strength) {
  Lora lora;
  const auto add = [&](const char* wan, const std::string& diffusers, int64_t out, int64_t in) {
    const std::string layer =
        canonical ? std::string("diffusion_model.") + wan : "transformer." + diffusers;
    const at::Tensor down = at::randn({3, in}) * 0.2;
    const at::Tensor up = at::randn({out, 3}) * 0.2;
    lora.tensors.push_back({layer + (canonical ? ".lora_down.weight" : ".lora_A.weight"), down});
    lora.tensors.push_back({layer + (canonical ? ".lora_up.weight" : ".lora_B.weight"), up});
    const double alpha = canonical ? 1.5 : 3.0;
    if (canonical) lora.tensors.push_back({layer + ".alpha", at::full({}, alpha)});
    lora.deltas[diffusers + ".weight"] =
        at::matmul(up.to(at::kDouble), down.to(at::kDouble)) * (strength * alpha / 3);
  };
  add("blocks.0.self_attn.q", "blocks.0.attn1.to_q", 192, 192);
  add("blocks.0.ffn.0", "blocks.0.ffn.net.0.proj", 512, 192);
  add("blocks.1.cross_attn.o", "blocks.1.attn2.to_out.0", 192, 192);
  if (canonical) {
    const at::Tensor bias = at::randn({192}) * 0.1;
    lora.tensors.push_back({"diffusion_model.blocks.0.self_attn.q.diff_b", bias});
    lora.deltas["blocks.0.attn1.to_q.bias"] = bias.to(at::kDouble) * strength;
    const at::Tensor norm = at::randn({192}) * 0.1;
    lora.tensors.push_back({"diffusion_model.blocks.1.norm3.diff", norm});
    lora.deltas["blocks.1.norm2.weight"] = norm.to(at::kDouble) * strength;
    const at::Tensor modulation = at::randn({1, 6, 192}) * 0.1;
    lora.tensors.push_back({"diffusion_model.blocks.0.diff_m", modulation});
    lora.deltas["blocks.0.scale_shift_table"] = modulation.to(at::kDouble) * strength;
  }
  return lora;
}

void merge(const std::string& folder, const Deltas& deltas) {
  const std::string path = folder + "/" + kWeights;
  std::vector<NamedTensor> merged;
  size_t changed = 0;
  {
    const auto file = weights::Checkpoint::open(path);
    for (const auto& entry : file.tensors()) {
      at::Tensor tensor = file.load(entry.name).to(at::kFloat);
      if (const auto delta = deltas.find(entry.name); delta != deltas.end()) {
        tensor = (tensor.to(at::kDouble) + delta->second).to(at::kFloat);
        ++changed;
      }
      merged.push_back({entry.name, tensor});
    }
  }
  REQUIRE(changed == deltas.size());
  weights::write_safetensors(path, merged);
}

enum class Stored { kInt8, kExpanded };

// Layers of blocks as int8 with a scale a row, or as what these stand for.
void quantise(const std::string& folder, Stored stored) {
  const std::string path = folder + "/" + kWeights;
  std::vector<NamedTensor> tensors;
  {
    const auto file = weights::Checkpoint::open(path);
    for (const auto& entry : file.tensors()) {
      const at::Tensor tensor = file.load(entry.name).to(at::kFloat);
      if (!entry.name.starts_with("blocks.") || tensor.dim() != 2) {
        tensors.push_back({entry.name, tensor});
        continue;
      }
      const at::Tensor scale = at::amax(tensor.abs(), 1, /*keepdim=*/true) / 127;
      const at::Tensor rounded = at::round(tensor / scale);
      if (stored == Stored::kInt8) {
        tensors.push_back({entry.name, rounded.to(at::kChar)});
        tensors.push_back({entry.name + "_scale", scale});
      } else {
        tensors.push_back({entry.name, rounded * scale});
      }
    }
  }
  weights::write_safetensors(path, tensors);
}

at::Tensor latents_of(const EngineOptions& options, const Scratch& scratch) {
  const auto engine = open_engine(options);
  Request request;
  request.prompt = "a red circle moves right on a black background";
  request.steps = 3;  // both experts
  request.frames = 5;
  request.seed = 7;
  test::SilentListener listener;
  const CancelToken cancel;
  GenerateOutputs outputs;
  outputs.save_latents_path = scratch / "latents.safetensors";
  const Report report = engine->generate(engine->resolve(request), outputs, listener, cancel);
  CHECK(report.steps.front().expert != report.steps.back().expert);
  return weights::Checkpoint::open(outputs.save_latents_path).load("latents");
}

EngineOptions options_for(const std::string& model) {
  EngineOptions options;
  options.model_path = model;
  options.device = Device::kCpu;
  options.dtype = Dtype::kFp32;
  return options;
}

}  // namespace

TEST_CASE("LoRAs of both experts give the latents of merged files") {
  at::manual_seed(3);
  const Scratch scratch;
  const Lora high = make_lora(true, 0.8);
  const Lora low = make_lora(false, 1.0);
  weights::write_safetensors(scratch / "my_high_noise.safetensors", high.tensors);
  weights::write_safetensors(scratch / "other.safetensors", low.tensors);
  const std::string merged = scratch / "merged";
  fs::copy(kModel, merged, fs::copy_options::recursive);
  merge(merged + "/transformer", high.deltas);
  merge(merged + "/transformer_2", low.deltas);

  EngineOptions with = options_for(kModel);
  with.loras = {{.path = scratch / "my_high_noise.safetensors", .expert = "", .strength = 0.8},
                {.path = scratch / "other.safetensors", .expert = "low", .strength = 1.0}};
  const at::Tensor got = latents_of(with, scratch);
  const at::Tensor wanted = latents_of(options_for(merged), scratch);
  CHECK(testing::mismatch(got, wanted, {.absolute = 1e-5, .relative = 1e-5}).empty());

  const at::Tensor without = latents_of(options_for(kModel), scratch);
  CHECK(testing::max_error(got, without) > 1e-3);  // it does something
  EngineOptions swapped = with;
  swapped.loras[0].expert = "low";
  swapped.loras[1].expert = "high";
  CHECK(testing::max_error(got, latents_of(swapped, scratch)) > 1e-3);  // experts matter
  EngineOptions nothing = with;
  for (LoraOption& lora : nothing.loras) lora.strength = 0;
  CHECK(latents_of(nothing, scratch).equal(without));
}

TEST_CASE("beside quantised weights a LoRA does what merging would") {
  at::manual_seed(5);
  const Scratch scratch;
  const Lora lora = make_lora(true, 1.0);
  weights::write_safetensors(scratch / "x.safetensors", lora.tensors);
  for (const char* name : {"int8", "merged"}) {
    fs::copy(kModel, scratch / name, fs::copy_options::recursive);
    for (const char* expert : {"transformer", "transformer_2"}) {
      const std::string folder = (scratch / name) + "/" + expert;
      quantise(folder, name[0] == 'i' ? Stored::kInt8 : Stored::kExpanded);
      if (name[0] == 'm') merge(folder, lora.deltas);
    }
  }
  EngineOptions beside = options_for(scratch / "int8");
  beside.loras = {{.path = scratch / "x.safetensors", .expert = "", .strength = 1.0}};
  const at::Tensor got = latents_of(beside, scratch);
  const at::Tensor wanted = latents_of(options_for(scratch / "merged"), scratch);
  CHECK(testing::mismatch(got, wanted, {.absolute = 1e-4, .relative = 1e-4}).empty());
  CHECK(testing::max_error(got, latents_of(options_for(scratch / "int8"), scratch)) > 1e-3);
  EngineOptions streamed = beside;
  streamed.offload = Offload::kBlock;
  CHECK(latents_of(streamed, scratch).equal(got));
}

TEST_CASE("LoRAs merge the same when blocks are streamed") {
  at::manual_seed(4);
  const Scratch scratch;
  weights::write_safetensors(scratch / "x.safetensors", make_lora(true, 1.0).tensors);
  EngineOptions resident = options_for(kModel);
  resident.loras = {{.path = scratch / "x.safetensors", .expert = "", .strength = 1.0}};
  EngineOptions streamed = resident;
  streamed.offload = Offload::kBlock;
  CHECK(latents_of(streamed, scratch).equal(latents_of(resident, scratch)));
}

TEST_CASE("the recipe notes LoRAs and components by base name") {
  const Scratch scratch;
  weights::write_safetensors(scratch / "low_noise.safetensors", make_lora(true, 1.0).tensors);
  EngineOptions options = options_for(kModel);
  options.loras = {{.path = scratch / "low_noise.safetensors", .expert = "", .strength = 0.5}};
  options.components.vae = kModel + "/vae";
  const auto engine = open_engine(options);
  Request request;
  request.prompt = "a red circle";
  const std::string json = engine->recipe_json(engine->resolve(request));
  CHECK_THAT(json, Catch::Contains(R"("loras":[{"file":"low_noise.safetensors","expert":"low",)"
                                   R"("strength":0.5}])"));
  CHECK_THAT(json, Catch::Contains(R"("vae":"vae")"));
  CHECK_THAT(json, !Catch::Contains(scratch.path()));
}
